"""The house keeps its shape: floors, thin tools, and a catalogue that names everything registered."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pointcept_bsa"
TOOLS = sorted((ROOT / "tools").glob("*.py"))
TOOL_LINES = 100


def run_python(code: str) -> str:
    """Standard output of ``code`` in a new interpreter at the repository root; fails with all it printed."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_imports_point_downward():
    output = run_python(
        "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache', '--no-logo'])"
    )
    assert "0 broken" in output


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.name)
def test_tool_parses_arguments_and_nothing_else(tool):
    """A tool reads its command line with the standard library and hands it to the package."""
    source = tool.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(source)))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    foreign = {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names | {"pointcept_bsa"}}
    assert not foreign
    assert not [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    assert len(source.splitlines()) <= TOOL_LINES


def test_there_are_tools():
    assert TOOLS


HEAVY = {"mmengine", "addict", "scipy", "rich", "yaml", "tensorboard", "meshio", "matplotlib", "h5py", "timm"}
HOUSE = {
    "pointcept_bsa.host",
    "pointcept_bsa.catalogue",
    "pointcept_bsa.training",
    "pointcept_bsa.analysis",
    "pointcept_bsa.datasets",
}


@pytest.mark.parametrize("part", ["geometry import BallTree", "layers import BallSparseAttention"])
def test_a_part_is_imported_in_a_moment_and_without_the_house(part):
    """In less than a second beyond torch's own import; the best of three, as others use the machine, too."""
    code = (
        "import sys, time, torch; start = time.perf_counter(); "
        f"from pointcept_bsa.{part}; print(time.perf_counter() - start, *sys.modules)"
    )
    seconds = []
    for _ in range(3):
        time, *loaded = run_python(code).split()
        seconds.append(float(time))
        assert not (HEAVY | HOUSE) & set(loaded)
    print(f"from pointcept_bsa.{part}: {min(seconds):.2f} s beyond torch")
    assert min(seconds) < 1.0


@pytest.mark.parametrize("room", ["geometry", "layers", "backbones", "losses", "metrics"])
def test_a_room_says_what_is_public(room):
    """Every name of ``__all__`` is there, in order, and stands for something of this room."""
    code = (
        f"import pointcept_bsa.{room} as room; "
        "print(*(f'{name}:{getattr(getattr(room, name), '__module__', room.__name__)}' for name in room.__all__))"
    ).replace("'__module__'", '"__module__"')
    found = [entry.split(":") for entry in run_python(code).split()]
    names = [name for name, _ in found]
    assert names == sorted(set(names))
    assert all(module.startswith(f"pointcept_bsa.{room}") for _, module in found)


def test_a_registry_loads_every_module_that_registers_when_it_is_asked():
    """A file with ``register_module`` that nobody imports would be a name that no config finds.

    Only the embedded host is asked: under Pointcept its own parts take the place of the trainer and its hooks.
    """
    registering = set()
    for path in PACKAGE.rglob("*.py"):
        decorators = [
            decorator.func.attr
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
            for decorator in node.decorator_list
            if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute)
        ]
        if "register_module" in decorators:
            registering.add(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    loaded = run_python(
        "import os, sys; os.environ['PCBSA_HOST'] = 'embedded'; import pointcept_bsa.host; "
        "assert 'BSA-v1m1' in pointcept_bsa.host.MODELS.module_dict; print(*sys.modules)"
    ).split()
    unreached = registering - set(loaded)
    assert registering
    assert not unreached
