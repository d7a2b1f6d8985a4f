"""Configs that fit prepared own data: their numbers are read off the data, all else is that of ``configs/custom``."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from pointcept_bsa.arguments.carried import carried
from pointcept_bsa.datasets.arrays import read_npy
from pointcept_bsa.datasets.inputs import GLOBAL
from pointcept_bsa.datasets.prepared import sample_folder_name
from pointcept_bsa.host import MODELS, Config

NETWORKS = dict.fromkeys(("bsa", "erwin", "erwin_nsa", "full_attention", "upt", "abupt", "mspt"), True)
NETWORKS |= dict.fromkeys(("bsa_hierarchical", "flare", "lrsa", "pointnet", "transolver"), True)
NETWORKS["ptv3"] = False  # has no argument dimensionality
MAX_BANDS = 3  # more overfit, see docs/recipe.md
POINTS_A_WAVE = 2.5  # of the highest frequency
MAX_POINTS = 8192  # of a cloud in training
POINTS_A_BATCH = 2 * MAX_POINTS
MAX_BATCH = 8
WHOLE_BALL = 512  # points of clouds that one ball of BSA holds, see docs/recipe.md
MESSAGES = 3
MESSAGES_FROM = 2048  # points of the median cloud, from which on BSA passes messages first, see docs/recipe.md
LOOKED_AT = 16  # training samples whose spacing is measured
SQUARED = (1e-15, 1e15)  # largest values of a target whose squares float32 holds with room to spare
PLAIN = (0.2, 2.0)  # features whose largest value lies here are given as they are, others standardised


def number_of_bands(spacing: float) -> int:
    """Bands of ``FourierFeatures`` for points that are ``spacing`` apart in the box of side 2, at least 1.

    The wave of the last of n bands has length 2^(2-n): at least ``POINTS_A_WAVE`` points.
    """
    fitting = [bands for bands in range(1, MAX_BANDS + 1) if 2.0 ** (2 - bands) >= POINTS_A_WAVE * spacing]
    return max(fitting, default=1)


def ball_size(largest: int, block_size: int = 8) -> int | None:
    """Slots of the smallest ball that holds clouds of up to ``largest`` points; None above ``WHOLE_BALL``."""
    if largest > WHOLE_BALL:
        return None
    blocks = -(-largest // block_size)
    return block_size * 2 ** (blocks - 1).bit_length()


def median_spacing(root: Path, names: Sequence[str], side: float) -> float:
    """Distance to the nearest other point of the cloud (at most ``MAX_POINTS`` drawn), median over points and clouds.

    In units of the box of side 2 whose side is ``side`` in the files; 0 where all clouds have one point.
    """
    chosen = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, LOOKED_AT).round().astype(int))]
    rng, found = np.random.default_rng(0), []
    for name in chosen:
        coord = np.asarray(read_npy(root / sample_folder_name(name) / "coord.npy"), np.float64)
        points = np.unique(rng.permutation(coord)[:MAX_POINTS], axis=0)
        if len(points) > 1:
            found.append(cKDTree(points).query(points, k=2)[0][:, 1])
    return float(np.median(np.concatenate(found))) * 2 / side if found and side > 0 else 0.0


def suggested_configs(
    root: Path,
    content: Mapping[str, Any],
    statistics: Mapping[str, Any],
    train: Sequence[str],
    points: Sequence[int],
    zero: Sequence[str] = (),
) -> tuple[dict[str, str], str]:
    """Return the text of a config for every network of ``configs/custom``, and a line that says what they hold.

    Those for labels have the backbone of ``configs/custom`` written out, and else ``configs/_base_/custom_labels.py``.

    Args:
        root: the prepared folder, as the data set is to find it.
        content: of ``fields.json``.
        statistics: of the fields over the training samples, {key: {"mean", "std", "min", "max"}}.
        train: names of the training samples.
        points: numbers of points of all samples.
        zero: samples whose targets are 0 at all points.
    """
    dimension, largest = content["dimension"], max(points)
    extent = np.subtract(statistics["coord"]["max"], statistics["coord"]["min"])
    spacing = median_spacing(root, train, float(extent.max()))
    bands, drawn = number_of_bands(spacing), min(largest, MAX_POINTS)
    batch = max(1, min(2 if drawn > 1024 else MAX_BATCH, POINTS_A_BATCH // drawn, len(train)))
    targets = sum(entry["columns"] for entry in content["target"])
    feat_keys = ("fourier", *(entry["key"] for entry in content["fields"]))
    channels = dimension * (2 * bands + 1) + sum(entry["columns"] for entry in content["fields"])
    transforms = [line for entry in content["fields"] for line in _scaling(entry, statistics[entry["key"]])]
    transforms.append(f'dict(type="FourierFeatures", keys=("coord",), num_bands={bands})')
    grid = float(f"{max(spacing / 2, 2**-14):.2g}")
    transforms.append(f'dict(type="AddGridCoord", grid_size={grid})')
    labels = content.get("labels")
    keys = ("coord", "segment" if labels else "target", "name", "position", "grid_coord")
    transforms.append(f'dict(type="CollectPoints", keys={keys!r}, feat_keys={feat_keys!r})')
    sampling = f'[dict(type="SamplePoints", num_points={MAX_POINTS})] + ' if largest > MAX_POINTS else ""
    clouds = f"{drawn} of up to {largest} points a cloud" if sampling else f"whole clouds of up to {largest} points"
    wanted = f"{len(labels)} classes" if labels else f"{targets} targets"
    told = f"{dimension}-D, {channels} inputs, {wanted}, {bands} bands, {clouds}, {batch} clouds a batch"
    of_bsa: dict[str, Any] = {}
    if ball := ball_size(largest):
        of_bsa["ball_size"] = ball
        told += ", a ball of BSA for each"
    if float(np.median(np.minimum(points, MAX_POINTS))) >= MESSAGES_FROM and not labels:
        of_bsa["mp_steps"] = MESSAGES
        told += f", {MESSAGES} steps of messages in bsa.py and bsa_hierarchical.py"
    base = _configs_folder(root)
    texts = {}
    for network, has_dimensionality in NETWORKS.items():
        dimensions = {"dimensionality": dimension} if has_dimensionality else {}
        backbone = {"in_channels": channels, **dimensions, **(of_bsa if network in ("bsa", "bsa_hierarchical") else {})}
        if network == "bsa_hierarchical" and sampling:
            backbone["levels_beyond"] = MAX_POINTS // 2  # else no cloud of the training has levels, which tests have
        parent, given = f"{base}/{network}.py", "data_root=data_root, "
        model = [f"    backbone={_call(backbone)},", f"    head=dict(out_channels={targets}),"]
        if _wants_normalized_loss(content, statistics, zero):
            model.append("    criteria=[dict(type='RelativeL2Loss', physical=False)],")
        data: list[str] = []
        if labels:
            custom = Config.fromfile(str(root.resolve() / parent)).model
            parent = posixpath.normpath(f"{base}/../_base_/custom_labels.py")
            given = "type='CustomLabelDataset', split='{split}', data_root=data_root, scale_to_box=True, "
            model = [
                f"    num_classes={len(labels)},",
                f"    backbone_out_channels={MODELS.build(custom.backbone).out_channels},",
                f"    backbone={_call({**custom.backbone.to_dict(), **backbone})},",
            ]
            names = [str(label) for label in labels]
            data = [f"    num_classes={len(labels)},", "    ignore_index=-1,", f"    names={names!r},"]
        lines = [
            f"# Fits the data of this folder: {told}.",
            "# All else comes from the base.",
            "",
            f"_base_ = [{parent!r}]",
            "",
            f"save_path = {f'exp/{root.resolve().name}/{network}'!r}",
            f"batch_size = {batch}",
            "",
            f"data_root = {root.as_posix()!r}",
            "_features = [",
            *(f"    {line}," for line in transforms),
            "]",
            "data = dict(",
            *data,
            f"    train=dict({given.format(split='train')}transform={sampling}_features),",
            f"    val=dict({given.format(split='val')}transform=_features),",
            f"    test=dict({given.format(split='test')}transform=_features{', test_mode=True' if labels else ''}),",
            ")",
            "",
            "model = dict(",
            *model,
            ")",
            "",
        ]
        texts[f"{network}.py"] = "\n".join(lines)
    return texts, told


def _wants_normalized_loss(content: Mapping[str, Any], statistics: Mapping[str, Any], zero: Sequence[str]) -> bool:
    """Of several fields pascals and metres a second are not to be added up; what is 0 has no relative error; squares of
    very large or small numbers are none in float32."""
    targets = [entry["key"] for entry in content["target"]]
    if len(targets) != 1 or content.get("labels"):
        return len(targets) > 1
    largest = np.abs([statistics[targets[0]]["min"], statistics[targets[0]]["max"]]).max()
    return bool(zero) or not SQUARED[0] < largest < SQUARED[1]


def _call(values: Mapping[str, Any]) -> str:
    return f"dict({', '.join(f'{key}={value!r}' for key, value in values.items())})"


def _scaling(entry: Mapping[str, Any], statistics: Mapping[str, Sequence[float]]) -> list[str]:
    """The transform that standardises a field of the points, where its values are not about 1; global ones are."""
    largest = np.abs([statistics["min"], statistics["max"]]).max()
    if entry["kind"] in GLOBAL or PLAIN[0] <= largest <= PLAIN[1]:
        return []
    std = [value if value > 0 else 1.0 for value in statistics["std"]]
    return [f'dict(type="ScaleField", key={entry["key"]!r}, std={std!r}, mean={list(statistics["mean"])!r})']


def _configs_folder(root: Path) -> str:
    """``configs/custom`` as seen from ``root``: of the checkout that one works in, else of this package's."""
    here, own = Path.cwd() / "configs" / "custom", carried("configs") / "custom"
    folder = here if (here / "bsa.py").is_file() else own
    try:
        return Path(os.path.relpath(folder, root.resolve())).as_posix()
    except ValueError:  # another drive
        return folder.as_posix()
