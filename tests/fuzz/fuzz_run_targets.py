"""What is fuzzed of a run: options, configs, checkpoints, weights that came alone, files in its folder, archives."""

from __future__ import annotations

import copy
import io
import json
import shutil
import tarfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz_targets import ROOT, Target, zip_of
from fuzz_values import EXPRESSIONS, JSON, Raw, config_file, json_bytes

from pointcept_bsa.analysis.comparison.comparison import compare
from pointcept_bsa.analysis.comparison.tables import markdown, write_tables
from pointcept_bsa.analysis.prediction.network import open_network
from pointcept_bsa.analysis.report.page import page
from pointcept_bsa.analysis.visualization.run import read_results
from pointcept_bsa.arguments.train_and_test import run_parser
from pointcept_bsa.datasets.prepare.download import extract
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import Config, complete_config, config_hash, config_text, load_config
from pointcept_bsa.host.embedded.config_text import json_values
from pointcept_bsa.host.memory import is_out_of_memory
from pointcept_bsa.training.checkpoints.checkpoint import evaluated_weights, load_checkpoint, load_weights
from pointcept_bsa.training.checkpoints.record import record_of
from pointcept_bsa.training.checkpoints.state import check, restore
from pointcept_bsa.training.checkpoints.store import load_newest
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.env import default_setup
from pointcept_bsa.training.evaluation.provenance import provenance, training_points
from pointcept_bsa.training.evaluation.training_range import read_training_range
from pointcept_bsa.training.runs.finished import find_runs
from pointcept_bsa.training.runs.folder import unlock_folders
from pointcept_bsa.training.runs.opened_run import open_run
from pointcept_bsa.training.runs.portable_config import portable_config, read_portable_config
from pointcept_bsa.training.trainer import DefaultTrainer

TINY = ["device=cpu", "seed=0", "num_worker=0", "epoch=1", "eval_epoch=1", "max_iters=2", "evaluate=False"]
TINY += ["test.pictures=False", "data.train.num_points=24", "data.train.num_samples=2"]
TINY += [
    "model.backbone.depth=1",
    "model.backbone.channels=8",
    "model.backbone.num_heads=1",
    "model.head.in_channels=8",
]
TINY += ["model.backbone.ball_size=16", "data.train.cache=False", "data.val.num_points=24", "data.test.num_points=24"]

# Tensors and the like that a file of torch.save can hold beside numbers and texts.
ENTRIES = (
    *(value for value in JSON if not isinstance(value, str) or value.isprintable()),
    *(b"x", 1j, (1, 2), {1: "b"}, {None: 1}, OrderedDict(a=1), {1, 2}, torch.float16, torch.Size([2])),
    *(np.float64(2.5), np.float32("nan"), np.int64(3), np.bool_(True)),
    *(torch.ones(7), torch.ones(0), torch.ones(2, 2), torch.tensor(3), torch.tensor(float("nan")), torch.arange(4)),
    *(torch.full((2, 3), float("nan")), torch.ones(3, dtype=torch.complex64), torch.ones(2, 2).to_sparse()),
    *(torch.ones(2, dtype=torch.bool), torch.ones(3, dtype=torch.float64), torch.ones(2, device="meta")),
    *(torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), torch.ones(1).expand(5)),
    torch.nn.Parameter(torch.ones(2)),
)  # fmt: skip


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def json_lines(records: Any) -> bytes:
    records = records if isinstance(records, list) else [records]
    return b"".join(json_bytes(record) + b"\n" for record in records)


class TinyRun:
    """A run of two iterations in ``folder``, the trainer that would go on with it, and its checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "run"
        config = folder / "tiny.py"
        base = str(ROOT / "configs" / "ellipsoid_flow" / "bsa.py")
        config.write_text(f"_base_ = [{base!r}]\nema = dict(_delete_=True, decay=0.5)\n")
        options = [*TINY, f"save_path={self.folder}"]
        assert train_main(["--config", str(config), "--options", *options]) == 0
        self.cfg = load_config(str(self.folder / "config.py"))
        self.trainer = DefaultTrainer(default_setup(load_config(str(self.folder / "config.py"), {"resume": True})))
        self.checkpoint, self.path = load_newest(self.folder / "model" / "model_last.pth")
        self.checkpoint["storage"] = {"loss": [0.5, 1.0, 2]}  # as within an epoch
        self.plan = self.trainer.plan
        unlock_folders()

    def go_on(self, path: Path) -> None:
        """As ``CheckpointLoader`` does, and a step of every part that has loaded something."""
        trainer = self.trainer
        checkpoint = load_checkpoint(path)
        check(trainer, checkpoint, str(path))
        load_weights(trainer.model, checkpoint["state_dict"], path)
        try:
            restore(trainer, checkpoint, str(path), False)
            for parameter in trainer.model.parameters():
                parameter.grad = torch.zeros_like(parameter)
            trainer.optimizer.step()
            if trainer.global_iter < trainer.max_iter:
                trainer.scheduler.step()
            trainer.ema.update()
        finally:
            trainer.adopt_plan(self.plan)
            restore(trainer, copy.deepcopy(self.checkpoint), self.path, False)

    def load(self, path: Path) -> None:
        """As a test does with ``weight=PATH``."""
        load_weights(self.trainer.model, evaluated_weights(load_checkpoint(path)), path)

    def alone(self, metadata: Any) -> bytes:
        """Exported weights with this metadata."""
        from safetensors.torch import save

        texts = {}
        for name, value in metadata.items() if isinstance(metadata, dict) else ():
            text = value if isinstance(value, str) else json.dumps(value)
            texts[name.encode("utf-8", "replace").decode()] = text.encode("utf-8", "replace").decode()
        return save(self.checkpoint["state_dict"], texts)


def read_options(whole: Config) -> Callable[[Path], None]:
    """Words, each ended by a zero byte, as ``--options`` of a tool takes them; ``whole``: what the config file says."""

    def read(path: Path) -> None:
        words = path.read_bytes().decode("utf-8", "surrogateescape").split("\0")
        arguments = run_parser("x").parse_args(["--config", "x", "--options", *words])
        cfg = copy.deepcopy(whole)
        complete_config(cfg, arguments.options)
        record_of(cfg)
        config_hash(cfg)
        config_text(cfg)

    return read


def round_trip(path: Path) -> None:
    """What is written of a config can be read, and says the same; so can what exported weights carry of it."""
    cfg = load_config(str(path))
    text, digest = config_text(cfg), config_hash(cfg)
    record_of(cfg)
    path.write_text(text, encoding="utf-8")
    try:
        again = load_config(str(path))
    except InputError as error:
        raise AssertionError(f"it was written and is refused: {error}") from error
    assert config_text(again) == text and config_hash(again) == digest
    carried = portable_config(cfg)
    try:
        read = read_portable_config(carried, "x")
    except InputError as error:
        raise AssertionError(f"it was exported and is refused: {error}") from error
    assert portable_config(read) == carried
    assert read.model.to_dict() == json_values(cfg.model, "model")


def read_carried(path: Path) -> None:
    read_portable_config(path.read_bytes().decode("utf-8", "replace"), "x")


def open_alone(path: Path) -> None:
    """As ``tools/predict.py`` opens exported weights."""
    try:
        run = open_run(str(path), {"device": "cpu"})
    except RuntimeError as error:
        if is_out_of_memory(error):  # which the tools say in one line wherever it comes
            raise InputError("out of memory") from error
        raise
    network = open_network(run.cfg, run.model, run.folder, run.metadata)
    network.needed_fields()
    network.bounded()


def read_range(path: Path) -> None:
    read_training_range(path.parent)


def read_data(path: Path) -> None:
    provenance(path.parent, ["a", "b"])
    training_points(path.parent, {})


def read_runs(files: dict[str, bytes], name: str) -> Callable[[Path], None]:
    """The run whose file ``name`` is damaged beside one that is whole: compared, in all kinds of tables and a page."""

    def read(path: Path) -> None:
        try:
            _compare(path)
        finally:
            shutil.rmtree(path.parent / "work", ignore_errors=True)

    def _compare(path: Path) -> None:
        work = path.parent / "work"
        for run in ("seed_0", "seed_1"):
            (work / run / "test").mkdir(parents=True)
            for other, content in files.items():
                (work / run / other).write_bytes(content)
        shutil.copy(path, work / "seed_0" / name)
        runs = find_runs([str(work)], lambda path: json.loads(Path(path).read_bytes()))
        comparison = compare(runs, force=True)
        markdown(comparison)
        write_tables(comparison, work / "tables")
        json.loads((work / "tables" / "compare.json").read_text(), parse_constant=_no_word)
        page(comparison, None, "x").encode()

    return read


def _no_word(word: str) -> None:
    raise AssertionError(f"{word} in JSON that was written")


def read_benchmark(path: Path) -> None:
    """With the sums that the picture of it takes."""
    rows, content = read_results(str(path))
    assert content["environment"].get("device", "?") is not None
    assert sorted({row.points for row in rows})[0] > 0
    for row in rows:
        assert row.forward_ms is None or min((row.forward_iqr_ms or 0.0) / 2, 0.9 * row.forward_ms) >= 0
        assert row.train_ms is None or min((row.train_iqr_ms or 0.0) / 2, 0.9 * row.train_ms) >= 0
        assert f"{row.name} {row.mode} {row.ops}".split() and row.forward + row.train + row.note is not None


def unpack(path: Path) -> None:
    """All of it or nothing."""
    folder = path.parent / "unpacked"
    try:
        extract(path, folder, {"a.npy", "b.npy"})
        assert folder.is_dir()
    except InputError:
        assert not folder.exists()
        raise
    finally:
        left = [entry.name for entry in path.parent.iterdir() if entry.name not in (path.name, "unpacked")]
        shutil.rmtree(folder, ignore_errors=True)
        assert not left, left


def tar_of(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in (("x/a.npy", b"12345678" * 9), ("y/b.npy", b""), ("z/c.txt", b"z")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("x/b.npy")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return file.getvalue()


OPTIONS = (
    b"epoch=4\0eval_epoch=2\0model.backbone.depth=3\0data.train.num_points=[1,2,3]",
    b"optimizer.lr=1e-3\0scheduler.max_lr=(1,2.5)\0hooks.0.type=x\0seed=None\0evaluate=False",
    b"weight=a b.pth\0save_path='x/y'\0custom_imports.imports=[os]\0batch_size=3\0num_worker=0",
    b"param_dicts=[(a,1),[b,[2]]]\0clip_grad=2\0ema.decay=0.9\0test.pictures=True\0resume=weights",
)
CARD = {"dataset": "s", "protocol": "A", "split": "test", "num_samples": 2, "split_hash": "01"}
CARD |= {"target": ["p"], "units": ["Pa"], "notes": []}
REPORT = {
    "data": CARD,
    "metrics": {"mse": {"mean": 2.0, "std": 1.0}, "r2": {"mean": 0.5, "std": 0.1}},
    "metrics_normalized": {"mse": {"mean": 0.1, "std": 0.2}},
    "samples": [{"name": n, "points": 3, "mse": 1.5, "r2": 0.5, "normalized": {"mse": 0.1}} for n in "ab"],
    "training": {"samples": 650, "split_hash": "11", "shared_with_test": 0},
    "validation": {"samples": 50, "split_hash": "22", "kind": "separate", "statement": "50 samples, separate"},
    "backbone": {"type": "BSA-v1m1", "depth": 2},
    "parameters": 1234,
    "gflops": {"points": 3586, "value": 27.9},
    "seed": 0,
    "command": ["test.py", "x"],
    "device": "cpu",
    "weight_file": "model_best.pth",
    "weight_sha256": "0" * 64,
    "run": {
        "config": {"batch_size": 2, "model.depth": 3},
        "environment": {"device": "cpu", "command": ["x"]},
        "iterations": 4,
        "train_seconds": 1.5,
        "ms_per_iteration": 20.0,
        "memory_mb": 100.0,
        "validation": {"mse": [[2, 0.5, 3.0], [4, None, 2.0]]},
    },
}  # fmt: skip
STEP = {"kind": "train", "epoch": 1, "lr": 0.1, "loss": 4.0, "iter_time": 0.02, "memory_mb": 9.0}
METRICS = [*({**STEP, "iter": i} for i in (1, 2, 3, 4)), {"step": 1, "val/mse": 3.0}]
ENVIRONMENT = {"device": "cpu", "torch": "2", "command": ["train.py", "a b"], "packages": {"numpy": "2"}}
DATA = {
    "train": {"card": {"num_samples": 2, "split_hash": "a"}, "names": ["a", "c"]},
    "val": {"card": {"num_samples": 1, "split_hash": "b"}, "names": ["b"]},
    "points": {"min": 3, "median": 4, "max": 5},
}
BOUNDS = {"min": [0.0] * 3, "max": [1.0] * 3, "mean": [0.5] * 3, "std": [0.1] * 3}
RANGE = {
    "data": CARD,
    "samples": 2,
    "of": 2,
    "points": [3, 5],
    "fields": {"coord": {**BOUNDS, "extent_min": [0.5] * 3, "extent_max": [1.0] * 3}, "normal": BOUNDS},
    "standardize": {"flow": {"mean": [0.0], "std": [1.0]}},
    "target": {"names": ["p"], "units": ["Pa"], "fields": [["p", 1]]},
    "up_axis": "y",
    "surface_pressure": {"density": 1.2, "velocity": 20.0, "flow": [1.0, 0.0, 0.0], "up": [0.0, 1.0, 0.0]},
}
ROW = {"name": "bsa", "backbone": "BSA-v1m1", "config": "bsa.py", "options": "", "points": 100, "batch_size": 1}
ROW |= {"dtype": "float32", "mode": "eager", "ops": "auto", "parameters": 10, "gflops": None, "points_per_second": 9.5}
ROW |= {"forward": "ok", "forward_ms": 1.5, "forward_iqr_ms": 0.1, "forward_repeats": 5, "memory_gib": None, "note": ""}
ROW |= {"train": "ok", "train_ms": 1.5, "train_iqr_ms": None, "train_repeats": 5, "train_x": 1.0}
BENCHMARK = {"environment": {"device": "cpu", "dtype": "float32"}, "baseline": None, "rows": [ROW, ROW]}


def run_targets(folder: Path) -> list[Target]:
    """Those that need a run; ``folder`` takes it."""
    run = TinyRun(folder)
    values = run.cfg.to_dict()
    values["custom_imports"] = {"imports": ["json"], "allow_failed_imports": False}
    carried = json.loads(portable_config(run.cfg))

    def written(name: str) -> Any:
        return json.loads((run.folder / name).read_bytes())

    metadata = {"format": "pt", "config": carried, "statistics": {}, "version": "0", "source": {"file": "x"}}
    metadata |= {
        "training_range.json": written("training_range.json"),
        "training_points": {"min": 3, "median": 4, "max": 5},
    }
    files = {"test/metrics.json": json_bytes(REPORT), "metrics.jsonl": json_lines(METRICS)}
    files |= {"env.json": json_bytes(ENVIRONMENT), "config.py": json_bytes({"save_path": "x", "batch_size": 2})}
    ranges = [RANGE, written("training_range.json")]
    environments = [ENVIRONMENT, written("env.json")]
    odd = tuple(map(Raw, EXPRESSIONS))
    report, metrics, env = "test/metrics.json", "metrics.jsonl", "env.json"
    return [
        Target("options", "options", read_options(run.cfg), list(OPTIONS)),
        Target("values.py", "configs", round_trip, [values], config_file, odd),
        Target("carried.json", "configs", read_carried, [json_bytes(carried)]),
        Target("values.safetensors", "weights", open_alone, [metadata], run.alone, JSON),
        Target("entries.pth", "checkpoints", run.go_on, [run.checkpoint], saved, ENTRIES),
        Target("weights.pth", "checkpoints", run.load, [run.checkpoint, run.checkpoint["state_dict"]], saved, ENTRIES),
        Target("report.json", "files of runs", read_runs(files, report), [REPORT], json_bytes, JSON),
        Target("metrics.jsonl", "files of runs", read_runs(files, metrics), [METRICS], json_lines, JSON),
        Target("env.json", "files of runs", read_runs(files, env), environments, json_bytes, JSON),
        Target("data.json", "files of runs", read_data, [DATA, written("data.json")], json_bytes, JSON),
        Target("training_range.json", "files of runs", read_range, ranges, json_bytes, JSON),
        Target("benchmark.json", "files of runs", read_benchmark, [BENCHMARK], json_bytes, JSON),
        Target("bytes.jsonl", "files of runs", read_runs(files, metrics), [json_lines(METRICS)]),
        Target("a.zip", "archives", unpack, [zip_of(**{"x/a.npy": b"12345" * 9, "b.npy": b"1", "c.txt": b"2"})]),
        Target("nested.zip", "archives", unpack, [zip_of(**{"x/in.zip": zip_of(**{"a.npy": b"12345" * 9})})]),
        Target("a.tar", "archives", unpack, [tar_of("w")]),
        Target("a.tar.gz", "archives", unpack, [tar_of("w:gz")]),
    ]  # fmt: skip


RUN_NAMES = ("options", "values.py", "carried.json", "values.safetensors", "entries.pth", "weights.pth", "report.json")
RUN_NAMES += ("metrics.jsonl", "env.json", "data.json", "training_range.json", "benchmark.json", "bytes.jsonl")
RUN_NAMES += ("a.zip", "nested.zip", "a.tar", "a.tar.gz")
