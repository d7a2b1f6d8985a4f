"""The house keeps its shape: floors, thin tools, and a catalogue that names everything registered."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pointcept_bsa"
TOOLS = sorted((ROOT / "tools").glob("*.py"))
TOOL_LINES = 100


def run_python(code: str) -> str:
    """Standard output of ``code`` in a new interpreter at the repository root; fails with all it printed."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
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
    """In less than a second of a processor beyond torch's own import; others use the machine, too."""
    code = (
        "import sys, time, torch; start = time.process_time(); "
        f"from pointcept_bsa.{part}; print(time.process_time() - start, *sys.modules)"
    )
    seconds, *loaded = run_python(code).split()
    print(f"from pointcept_bsa.{part}: {seconds} s beyond torch")
    assert not (HEAVY | HOUSE) & set(loaded) and float(seconds) < 1.0


ROOMS = sorted(
    path.name.removesuffix(".py")
    for path in PACKAGE.iterdir()
    if (path.suffix == ".py" or (path / "__init__.py").is_file()) and not path.name.startswith("__")
)
PUBLIC_OF_A_ROOM, PUBLIC_IN_ALL = 50, 300  # names
OF_LIBRARIES = {"host"}  # where names of the host or of a library are handed on


def public_names(room: str) -> list[tuple[str, str, object]]:
    """(module, name, what it stands for) of a room: its ``__all__``, of ``ops`` those of the operators."""
    homes = [f"pointcept_bsa.{room}"]
    if room == "ops":
        homes = [f"{homes[0]}.{path.parent.name}" for path in sorted((PACKAGE / room).glob("*/__init__.py"))]
    found = []
    for home in homes:
        module = importlib.import_module(home)
        names = getattr(module, "__all__", None)
        if names is None:
            names = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == home]
            names = [name for name in sorted(names) if not name.startswith("_")]
        assert list(names) == sorted(set(names)), home
        found += [(home, name, getattr(module, name)) for name in names]
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_is_public(room):
    """Tens of names, each of which is there, is of this room and says what it is."""
    found = public_names(room)
    assert len(found) <= PUBLIC_OF_A_ROOM
    for home, name, value in found:
        if inspect.isclass(value) or inspect.isroutine(value):
            assert value.__doc__, f"{home}.{name} has no docstring"
            assert value.__module__.startswith(f"pointcept_bsa.{room}") or room in OF_LIBRARIES, f"{home}.{name}"


def test_packages_with_names_for_others_list_them():
    for room in ROOMS:
        if (PACKAGE / room).is_dir() and room != "ops":
            assert hasattr(importlib.import_module(f"pointcept_bsa.{room}"), "__all__"), room


def test_a_few_hundred_names_are_public():
    counts = {room: len(public_names(room)) for room in ROOMS}
    print(counts)
    assert 100 < sum(counts.values()) <= PUBLIC_IN_ALL, counts


def private_names_of_others(path: Path) -> list[str]:
    """Names with an underscore that a file takes from another room, by import or from an imported module."""
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py") if path.is_relative_to(PACKAGE) else ""
    tree, modules, found = ast.parse(path.read_text(encoding="utf-8")), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                modules[alias.asname or alias.name] = name
                found.append(name)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            name = modules[node.value.id]
            if PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py").is_file():
                found.append(f"{name}.{node.attr}")
    parts = [name.split(".") for name in found]
    others = [words for words in parts if words[0] == "pointcept_bsa" and words[1:2] != [room]]
    return [".".join(words) for words in others if any(re.fullmatch("_(?!_).*", word) for word in words)]


def test_no_room_takes_a_private_name_of_another():
    for path in (*PACKAGE.rglob("*.py"), *TOOLS):
        assert not private_names_of_others(path), path


def test_private_names_are_found(tmp_path):
    path = tmp_path / "stranger.py"
    path.write_text(
        "from pointcept_bsa.ops.launch import _arena\nfrom pointcept_bsa.ops import side_streams\n"
        "from pointcept_bsa import __version__\nside_streams._single_stream\nside_streams.worth_it\n"
    )
    assert private_names_of_others(path) == [
        "pointcept_bsa.ops.launch._arena",
        "pointcept_bsa.ops.side_streams._single_stream",
    ]


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


POSITIONAL = 6  # arguments of a call; further ones have their names
VARIADIC = {"apply", "save_for_backward", "use_triton", "checkpoint", "blocks"}  # callees that take any number


def is_kernel_code(path: Path, source: str) -> bool:
    """Kernels call each other, and are launched, by position."""
    return path.name == "triton_backend.py" or re.search(r"^\s*import triton\b", source, re.M) is not None


def test_long_lists_of_arguments_have_names():
    """Of launches of kernels (``kernel[grid](...)``, ``triton_backend.operator(...)``) nothing is asked."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)) if not is_kernel_code(path, source) else ():
            if not isinstance(node, ast.Call) or isinstance(node.func, ast.Subscript):
                continue
            called = ast.unparse(node.func)
            many = sum(not isinstance(value, ast.Starred) for value in node.args) > POSITIONAL
            if many and called.split(".")[-1] not in VARIADIC and not called.startswith("triton_backend."):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {called}")
    assert not found
