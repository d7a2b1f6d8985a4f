"""The names that a config may use under both hosts: those of the plugin, and those below, which each host brings."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HOST_NAMES = {
    "TRAINERS": {"DefaultTrainer"},
    "HOOKS": {
        "CheckpointLoader",
        "CheckpointSaver",
        "InformationWriter",
        "IterationTimer",
        "ModelHook",
        "PreciseEvaluator",
        "SemSegEvaluator",
    },
    "TRANSFORMS": {
        "CenterShift",
        "Collect",
        "RandomFlip",
        "RandomJitter",
        "RandomRotate",
        "RandomScale",
        "ShufflePoint",
        "ToTensor",
    },
    "OPTIMIZERS": {"Adam", "AdamW", "SGD"},
    "SCHEDULERS": {"CosineAnnealingLR", "ExpLR", "MultiStepLR", "MultiStepWithWarmupLR", "OneCycleLR", "PolyLR"},
    "MODELS": set(),
    "LOSSES": set(),
    "DATASETS": set(),
    "TESTERS": {"SemSegTester"},
}
BOTH_REGISTER = {"SCHEDULERS": {"WarmupCosineLR"}, "OPTIMIZERS": {"Muon"}}  # the plugin's, which each host takes in
HOSTS_OWN = {
    "MODELS": {"PT-v3m1", "DefaultSegmentorV2"},
    "LOSSES": {"CrossEntropyLoss", "LovaszLoss"},
}  # the plugin's only where the host has none

NESTED = {
    "criteria": "LOSSES",
    "transform": "TRANSFORMS",
    "test_cfg": "TRANSFORMS",
}  # keys under which others are named


def names_in_config(cfg: Any) -> Iterator[tuple[str, str]]:
    """(registry, name) of everything that a config has built."""
    for key, registry in (("model", "MODELS"), ("optimizer", "OPTIMIZERS"), ("scheduler", "SCHEDULERS")):
        yield from _nested(cfg[key], registry)
    yield "TRAINERS", cfg["train"]["type"]
    yield "TESTERS", cfg["test"]["type"]
    for hook in cfg["hooks"]:
        yield "HOOKS", hook["type"]
    for part in ("train", "val", "test"):
        yield from _nested(cfg["data"][part], "DATASETS")


def _nested(cfg: Any, registry: str) -> Iterator[tuple[str, str]]:
    if isinstance(cfg, dict):
        if "type" in cfg:
            yield registry, cfg["type"]
        for key, value in cfg.items():
            yield from _nested(value, NESTED.get(key, registry))
    elif isinstance(cfg, list | tuple):
        for value in cfg:
            yield from _nested(value, registry)


def registered_names(folder: Path) -> dict[str, set[str]]:
    """Names by registry, read from the sources under ``folder`` without importing them."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                calls = [(call, node.name) for call in node.decorator_list if isinstance(call, ast.Call)]
            elif isinstance(node, ast.Call):
                calls = [(node, next((_last(k.value) for k in node.keywords if k.arg == "module"), None))]
            else:
                continue
            for call, default in calls:
                if not isinstance(call.func, ast.Attribute) or call.func.attr != "register_module":
                    continue
                given = [*call.args[:1], *(k.value for k in call.keywords if k.arg == "name")]
                name = given[0].value if given and isinstance(given[0], ast.Constant) else default
                if name and isinstance(call.func.value, ast.Name):
                    found.setdefault(call.func.value.id, set()).add(name)
    return found


def _last(node: ast.expr) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)


def documented_names(readme: Path) -> dict[str, dict[str, str]]:
    """{registry: {name: who brings it}} from the tables of a README, each under a heading that ends with (REGISTRY)."""
    found: dict[str, dict[str, str]] = {registry: {} for registry in HOST_NAMES}
    registry = None
    for line in readme.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            last = line.rpartition("(")[2].removesuffix(")")
            registry = last if last in found else None
        elif registry and line.startswith("| `"):
            name, source, *_ = (cell.strip() for cell in line.strip("|").split("|"))
            found[registry][name.strip("`")] = source
    return found


def look_around(config: Any) -> tuple[str, list[str]]:
    """In a spawned process that was sent ``config``: the plugin's host, and the models that it knows."""
    host = sys.modules["pointcept_bsa.host"]
    return host.HOST, list(host.MODELS.module_dict)
