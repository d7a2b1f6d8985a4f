"""Baselines that keep everybody honest: what is reached without a network, judged as a network is.

Letters: N points, C features, K target channels, I input columns.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree

from pointcept_bsa.datasets.base import PointFieldDataset
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.host import Config, build_dataset
from pointcept_bsa.samples import per_point_keys
from pointcept_bsa.training.evaluation.evaluation import TESTED, Record, judge, summarize, told
from pointcept_bsa.training.evaluation.target_fields import Measure, measures, target_fields
from pointcept_bsa.training.first_look import look_at_data

RANK_TOLERANCE = 1e-10  # singular values below this fraction of the largest count as zero


class Sample(NamedTuple):
    """One cloud: raw ``inputs`` (N, I), the config's ``feat`` (N, C), ``target`` (N, K), name, raw ``fields``."""

    inputs: np.ndarray
    feat: np.ndarray
    target: np.ndarray
    name: str
    fields: Mapping[str, np.ndarray] = {}


class Baseline:
    """What is fitted on the training samples and predicts a field (N, K); base class."""

    meaning = ""

    @classmethod
    def missing(cls, train: PointFieldDataset) -> str | None:
        """Say what the data lack that this baseline rests on; None: nothing."""
        return None

    def fit(self, samples: Iterator[Sample]) -> None:
        raise NotImplementedError

    def predict(self, sample: Sample) -> np.ndarray:
        raise NotImplementedError


class ConstantMean(Baseline):
    """The mean of the target over all points of the training split."""

    meaning = "the mean of the target over all points of the training split, everywhere"

    def fit(self, samples: Iterator[Sample]) -> None:
        statistics = RunningStatistics()
        for sample in samples:
            statistics.update(sample.target)
        self.mean = np.asarray(statistics.result()["mean"])

    def predict(self, sample: Sample) -> np.ndarray:
        return np.tile(self.mean, (len(sample.feat), 1))


class LinearLeastSquares(Baseline):
    """Least squares of the target on the features that the config's networks get, and a constant; every point alike.

    The triangular factor of the stacked (features, 1, target) is carried from cloud to cloud, so that memory does not
    grow with the data; features that depend on others get the solution of least norm.
    """

    meaning = "linear least squares of the target on the config's features and a constant, point by point"

    def fit(self, samples: Iterator[Sample]) -> None:
        columns, factor = 0, np.zeros((0, 0))
        for sample in samples:
            design = _with_constant(self.columns(sample))
            rows = np.concatenate([design, sample.target.astype(np.float64)], axis=1)
            columns = design.shape[1]
            factor = np.asarray(np.linalg.qr(np.concatenate([factor.reshape(-1, rows.shape[1]), rows]), mode="r"))
        self.weight = np.linalg.lstsq(factor[:, :columns], factor[:, columns:], rcond=RANK_TOLERANCE)[0]

    def predict(self, sample: Sample) -> np.ndarray:
        return _with_constant(self.columns(sample)) @ self.weight

    def columns(self, sample: Sample) -> np.ndarray:
        """What the target is fitted on, (N, any)."""
        return sample.feat


class ScreenedCoulombLeastSquares(LinearLeastSquares):
    """Least squares of an electrostatic potential on screened sums of charges alone: field ``coulomb`` of the data set.

    In a uniform medium with salt the potential of a charge q is proportional to q exp(-r / L) / r; the fit chooses the
    medium.
    """

    meaning = "linear least squares of the target on the screened sums of charges (field 'coulomb') and a constant"

    @classmethod
    def missing(cls, train: PointFieldDataset) -> str | None:
        return None if "coulomb" in train.get_data(0) else "an input field 'coulomb'"

    def columns(self, sample: Sample) -> np.ndarray:
        return sample.fields["coulomb"].reshape(len(sample.target), -1)


class MeanFieldByIndex(Baseline):
    """The mean training field, row by row: for data whose row i is the same place of every sample.

    It reads the order of the points, which no network does: the average sample, not a method for new shapes. A network
    that is worse has learned nothing that the average does not tell.
    """

    meaning = "the mean training field by the index of the vertex, which no network may use"

    @classmethod
    def missing(cls, train: PointFieldDataset) -> str | None:
        return None if train.vertices_correspond else "vertices that correspond from sample to sample"

    def fit(self, samples: Iterator[Sample]) -> None:
        count, total = 0, np.zeros(0)
        for sample in samples:
            target = sample.target.astype(np.float64)
            total = target if not count else total + self._same_rows(sample, target, total)
            count += 1
        self.mean = total / count

    def predict(self, sample: Sample) -> np.ndarray:
        return self._same_rows(sample, self.mean, sample.target)

    def _same_rows(self, sample: Sample, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        if values.shape != wanted.shape:
            raise InputError(
                f"mean_field_by_index: sample {sample.name!r} has {len(sample.target)} points, others have another "
                "number, wanted the same in all"
            )
        return values


class NearestSample(Baseline):
    """The field of the most similar training sample, looked up at the nearest of its points.

    Distances are Euclidean between input columns divided by their standard deviations over the training split: the
    coordinates as the data set gives them, and the extra fields. The most similar sample is the one whose points lie
    nearest to the points of the sample on average (mean distance from ``num_probes`` of its points, evenly picked).
    Meaningful where clouds correspond; a sobering number where they do not.

    Args:
        num_probes: points of a sample that choose its neighbour.
    """

    meaning = "the field of the most similar training sample, at the nearest of its points"

    def __init__(self, num_probes: int = 512) -> None:
        self.num_probes = num_probes

    def fit(self, samples: Iterator[Sample]) -> None:
        clouds, self.targets = [], []
        statistics = RunningStatistics()
        for sample in samples:
            statistics.update(sample.inputs)
            clouds.append(sample.inputs)
            self.targets.append(sample.target)
        std = np.asarray(statistics.result()["std"])
        self.scale = np.where(std > 0, std, 1.0)
        self.trees = [cKDTree(cloud / self.scale) for cloud in clouds]

    def predict(self, sample: Sample) -> np.ndarray:
        points = sample.inputs / self.scale
        probes = points[np.linspace(0, len(points) - 1, min(self.num_probes, len(points))).astype(np.int64)]
        best, shortest = 0, np.inf
        for i, tree in enumerate(self.trees):
            distance = tree.query(probes)[0].mean()
            if distance < shortest:
                best, shortest = i, distance
        return self.targets[best][self.trees[best].query(points)[1]]


BASELINES: dict[str, type[Baseline]] = {
    "constant_mean": ConstantMean,
    "linear_least_squares": LinearLeastSquares,
    "nearest_sample": NearestSample,
    "mean_field_by_index": MeanFieldByIndex,
    "screened_coulomb_least_squares": ScreenedCoulombLeastSquares,
}


def run_baselines(
    cfg: Config,
    folder: str | Path,
    logger: logging.Logger,
    names: Sequence[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Fit every baseline on ``cfg.data.train`` and judge it on ``cfg.data.test``.

    Training samples go through the transforms of the test (all points, nothing random). Metrics are per sample, in
    physical units, then averaged, by the code that judges networks.

    Args:
        cfg: a config with ``data.train`` and ``data.test``; model and optimizer are not looked at.
        folder: ``<folder>/<name>/test/metrics.json`` is written for each, as ``RegressionTester`` writes its own.
        logger: gets the table.
        names: of :data:`BASELINES`; None: all that the data allow.

    Returns:
        What was written, by name of the baseline.

    Raises:
        InputError: an unknown baseline, one that the data do not allow, data sets that are not fields on
            points.
    """
    for name in names or ():
        if name not in BASELINES:
            raise InputError(f"baseline: got {name!r}, wanted names from {list(BASELINES)}{nearest(name, BASELINES)}")
    train, test = _datasets(cfg)
    if names is None:
        names = [name for name in BASELINES if BASELINES[name].missing(train) is None]
    for name in names:
        if lacking := BASELINES[name].missing(train):
            raise InputError(f"baseline: got {name!r}, which wants {lacking}; {type(train).__name__} has none")
    wanted, reports = measures(TESTED, target_fields(test)), {}
    for name in names:
        start = time.perf_counter()
        baseline = BASELINES[name]()
        baseline.fit(_samples(train))
        judged = [record for sample in _samples(test) for record in _judged(baseline, sample, wanted)]
        records = sorted(judged, key=itemgetter("name"))
        reports[name] = _report(
            name, baseline.meaning, train=train, test=test, records=records, wanted=wanted, start=start
        )
        write_json(Path(folder) / name / "test" / "metrics.json", reports[name])
    _print(reports, folder, logger)
    return reports


def _datasets(cfg: Config) -> tuple[PointFieldDataset, PointFieldDataset]:
    """Training and test set, both with the transforms of the test."""
    look_at_data(cfg, ["test"])
    transform = cfg.data.test.get("transform")
    train = build_dataset({**cfg.data.train, "transform": transform, "loop": 1, "cache": False})
    test = build_dataset(dict(cfg.data.test))
    for part, dataset in (("train", train), ("test", test)):
        if getattr(dataset, "domains", None):
            raise InputError(
                f"data.{part}: {type(dataset).__name__} has domains {list(dataset.domains)}, which baselines do not "
                "tell apart; the constant is in the report of every test"
            )
        if getattr(dataset, "gives_labels", False):
            raise InputError(
                f"data.{part}: {type(dataset).__name__} has classes of points, which baselines do not predict"
            )
        if not isinstance(dataset, PointFieldDataset):
            raise InputError(f"data.{part}: {type(dataset).__name__} is no set of fields on points, wanted one")
    return train, test


def _samples(dataset: PointFieldDataset) -> Iterator[Sample]:
    for index in range(len(dataset)):
        data = dataset.get_data(index)
        collected = dataset[index]
        if "feat" not in collected or len(collected["feat"]) != len(data["coord"]):
            raise InputError(
                "data.test.transform: does not end in CollectPoints over all points, which baselines are judged on"
            )
        keys = ["coord", *(k for k in per_point_keys(data) if k not in ("coord", "target"))]
        inputs = np.concatenate([data[k].reshape(len(data["coord"]), -1) for k in keys], axis=1).astype(np.float64)
        fields = {k: data[k] for k in keys}
        yield Sample(inputs, collected["feat"].numpy(), collected["target"].numpy(), data["name"], fields)


def _judged(baseline: Baseline, sample: Sample, wanted: Sequence[Measure]) -> list[Record]:
    prediction = torch.from_numpy(np.asarray(baseline.predict(sample), dtype=np.float64))
    target = torch.from_numpy(sample.target.astype(np.float64))
    return judge(prediction, target, torch.tensor([len(target)]), [sample.name], wanted)


def _report(
    name: str,
    meaning: str,
    train: PointFieldDataset,
    test: PointFieldDataset,
    records: list[Record],
    wanted: Sequence[Measure],
    start: float,
) -> dict[str, Any]:
    """The keys of ``RegressionTester.report``; what a network has and a baseline has not is None."""
    return {
        "data": test.card(),
        "fitted_on": train.card(),
        "training": {
            "samples": train.card()["num_samples"],
            "split_hash": train.card()["split_hash"],
            "shared_with_test": len(set(train.sample_names) & set(test.sample_names)),
        },
        "units": "physical, per sample, then averaged over the samples",
        "metrics": summarize(records, [measure.name for measure in wanted]),
        "metric_units": {measure.name: measure.unit for measure in wanted},
        "samples": records,
        "backbone": {"type": name, "meaning": meaning},
        "parameters": None,
        "gflops": None,
        "seed": None,
        "weight": None,
        "seconds": round(time.perf_counter() - start, 3),
        "torch": torch.__version__,
        "device": "cpu",
    }


def _print(reports: Mapping[str, Mapping[str, Any]], folder: str | Path, logger: logging.Logger) -> None:
    for name, report in reports.items():
        card = report["data"]
        values = report["metrics"]
        logger.info(f"{name}: {report['backbone']['meaning']}")
        logger.info("  " + told(values))
    logger.info(
        f"On {card['dataset']}, protocol {card['protocol']}, split {card['split']} ({card['num_samples']} samples, "
        f"hash {card['split_hash']}), units {card['units']}; written below {folder}"
    )


def _with_constant(feat: np.ndarray) -> np.ndarray:
    return np.concatenate([feat.astype(np.float64), np.ones((len(feat), 1))], axis=1)
