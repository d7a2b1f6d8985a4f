"""Where configs and tools lie: beside the package in a checkout, inside of it where a wheel was installed."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
COMMANDS = {  # of pcbsa: the tool that each runs
    "train": "train",
    "test": "test",
    "predict": "predict",
    "prepare": "prepare_data",
    "compare": "compare",
    "report": "report",
    "tune": "tune",
    "visualize": "visualize",
    "export": "export",
    "benchmark": "benchmark",
    "baselines": "baselines",
}


def carried(name: str) -> Path:
    """The folder ``configs`` or ``tools`` that belongs to this package. Raises FileNotFoundError where it has none."""
    for folder in (PACKAGE / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{PACKAGE}: has no {name}, neither inside nor beside it")


def config_names() -> list[str]:
    """``shapenet_car/bsa`` and all others that can be trained, in the order of their names."""
    root = carried("configs")
    files = (path.relative_to(root).with_suffix("") for path in root.glob("[!_]*/*.py"))
    return sorted(path.as_posix() for path in files)


def config_path(path: str) -> str:
    """``path`` if it is a file; else the config of the package that it names, if it names one.

    ``shapenet_car/bsa`` and ``configs/shapenet_car/bsa.py`` name the same one.
    """
    if os.path.isfile(path) or os.path.isabs(path):
        return path
    name = os.path.normpath(path).removeprefix(f"configs{os.sep}").removesuffix(".py")
    try:
        found = carried("configs") / f"{name}.py"
    except FileNotFoundError:
        return path
    return str(found) if ".." not in found.parts and found.is_file() else path


def command_line(tool: str, *words: object) -> str:
    """What to type to run a tool: ``python tools/<tool>.py`` in a checkout, ``pcbsa`` where a wheel was installed.

    Words are quoted for a shell, but those in angle brackets, which somebody fills in.
    """
    name = next(command for command, own in COMMANDS.items() if own == tool)
    start = f"pcbsa {name}" if (PACKAGE / "tools").is_dir() else f"python tools/{tool}.py"
    texts = [str(word) for word in words]
    return " ".join([start, *(text if text.startswith("<") else shlex.quote(text) for text in texts)])
