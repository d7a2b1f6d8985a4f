"""Each kind of file has one reader and one writer; other modules call these.

Found in the sources: calls that read what may hold code (torch.load, pickle, np.load, yaml, eval), JSON, and files
opened for writing. Each stands in its home, or in a list here with the reason.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for folder in ("pointcept_bsa", "tools") for path in (ROOT / folder).rglob("*.py"))
HOMES = {
    "torch.load": {"files/checkpoint_file.py"},
    "json": {"files/json_file.py"},
    "np.load": {"mesh_io/csv_text.py"},  # np.loadtxt, of lines: it opens no file
    "pickle": set(),
    "yaml": set(),
    "eval": {"host/pointcept/inside.py"},  # Pointcept's own tool, run in this process
    "import_module": {"exports.py"},  # of names that stand in a package, never of a user
    "extractall": set(),
    "np.save": {
        "files/npy_file.py",
        "training/evaluation/molecular_dynamics_tester.py",  # archives, through write_file
        "mesh_io/numpy_mesh.py",
    },
    "savefig": {"files/atomic.py", "analysis/report/chart.py"},  # PNG files; SVG within a page
    "memory": {"host/memory.py"},  # whether memory ran out
    "CUDA graph": {"host/captured.py"},
    "replace": {
        "files/atomic.py",
        "training/checkpoints/files.py",  # a second name for a checkpoint
        "datasets/prepare/download.py",  # archives: what has come of them is kept to go on from
    },
    "write": {
        "files/atomic.py",
        "files/npy_file.py",  # into a folder that gets its name when it is whole
        "training/events.py",  # metrics.jsonl, appended to
        "training/runs/folder.py",  # the lock of a run, with the name of who has it
        "analysis/tune/study.py",  # the lock of a study: empty
        "datasets/prepare/download.py",  # archives, as they come
    },
}


def kinds(node: ast.Call) -> set[str]:
    """What a call does, of the kinds in ``HOMES``."""
    called = ast.unparse(node.func)
    owner, _, name = called.rpartition(".")
    found = set()
    if called == "torch.load":
        found.add("torch.load")
    if owner == "json" and name in ("load", "loads", "dump", "dumps"):
        found.add("json")
    if owner in ("np", "numpy") and name in ("load", "loadtxt", "genfromtxt"):
        found.add("np.load")
    if owner in ("np", "numpy") and name.startswith("save"):
        found.add("np.save")
    if name == "savefig":
        found.add("savefig")
    if called in ("torch.cuda.graph", "torch.cuda.CUDAGraph", "torch.cuda.make_graphed_callables"):
        found.add("CUDA graph")
    if name == "isinstance" and any(ast.unparse(part).endswith("OutOfMemoryError") for part in ast.walk(node)):
        found.add("memory")
    if called in ("os.replace", "os.rename", "shutil.move"):
        found.add("replace")
    if owner in ("pickle", "joblib", "dill", "marshal", "shelve") and name != "UnpicklingError":
        found.add("pickle")
    if owner == "yaml":
        found.add("yaml")
    if called in ("eval", "exec", "compile", "__import__"):
        found.add("eval")
    if name == "import_module" or called == "import_module":
        found.add("import_module")
    if name == "extractall" or (name == "extract" and owner):
        found.add("extractall")
    if name in ("write_text", "write_bytes") and owner and owner.split(".")[-1] not in ("json_file", "files"):
        found.add("write")
    if (called == "open" or (name == "open" and owner not in ("os", "zipfile", "tarfile"))) and writes(node):
        found.add("write")
    return found


def writes(node: ast.Call) -> bool:
    values = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    constants = [part for value in values for part in ast.walk(value) if isinstance(part, ast.Constant)]
    modes = [part.value for part in constants if isinstance(part.value, str)]
    return any(mode.strip("rwxabt+") == "" and set(mode) & set("wxa+") for mode in modes if mode)


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def calls(path: Path) -> list[ast.Call]:
    return [node for node in nodes(path) if isinstance(node, ast.Call)]


@cache
def kinds_in(path: Path) -> set[str]:
    return set().union(*(kinds(node) for node in calls(path)))


@pytest.mark.parametrize("kind", HOMES)
def test_one_home(kind):
    homes = {str(path.relative_to(ROOT)).removeprefix("pointcept_bsa/") for path in SOURCES if kind in kinds_in(path)}
    assert homes == HOMES[kind]


def test_one_display_of_progress():
    homes = set()
    for path in SOURCES:
        for node in nodes(path):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            if {"rich.progress", "tqdm"} & set(names):
                homes.add(str(path.relative_to(ROOT)).removeprefix("pointcept_bsa/"))
    assert homes == {"files/progress.py"}


def test_pickles_are_never_asked_for():
    for path in SOURCES:
        for node in calls(path):
            values = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert values.get("allow_pickle", "False") == "False", path
            assert values.get("weights_only", "True") == "True", path
            name = ast.unparse(node.func)
            if name == "torch.load":
                assert "weights_only" in values, path
            if name == "np.load":
                assert "allow_pickle" in values, path


def test_the_search_finds_what_it_looks_for():
    text = "torch.load(f); json.dumps(1); np.load(f); pickle.loads(b); open(p, 'wb'); p.open('a'); eval(s)"
    found = set().union(*(kinds(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)))
    assert found == {"torch.load", "json", "np.load", "pickle", "write", "eval"}
    reading = ast.walk(ast.parse("open(p, 'rb'); open(p); os.open(p, os.O_RDONLY)"))
    assert not any(kinds(node) for node in reading if isinstance(node, ast.Call))
