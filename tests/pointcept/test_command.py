"""``python -m pointcept_bsa.host.pointcept``: its arguments, stand-ins and CPU mode, with a Pointcept of a few
lines."""

from __future__ import annotations

import json
import sys

import pytest

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.pointcept.__main__ import main, prepare
from pointcept_bsa.host.pointcept.stand_ins import StandInFinder

TOOL = """
import json, os, sys
import torch
import pointcept.parts as parts
from pointcept.work import worker

if __name__ == "__main__":
    context = torch.multiprocessing.get_context("spawn")
    process = context.Process(target=worker, args=(os.environ["TOLD"],))
    process.start()
    process.join()
    half = torch.load(os.environ["HALF"])
    with torch.amp.autocast(device_type="cuda", dtype=torch.bfloat16):
        dtype = str((torch.ones(1, 1).cuda(non_blocking=True) @ half).dtype)
    here = dict(argv=sys.argv[1:], dtype=dtype, bases=[base.__name__ for base in parts.Net.__mro__])
    print(json.dumps(dict(here=here, there=json.load(open(os.environ["TOLD"])))))
"""
PARTS = """
import no_such_extension.deep as deep
from no_such_extension import Thing
from torch import nn

try:
    import no_such_accelerator
except ImportError:
    no_such_accelerator = None


class Net(nn.Module, deep.Base):
    kind: Thing = deep.KIND

    def late(self):
        import no_such_extra

    def use(self):
        return Thing.make(1)
"""
WORK = """
import json
from pointcept import parts


def worker(path):
    told = dict(accelerator=parts.no_such_accelerator is None, isinstance=isinstance(1, parts.Thing))
    for name in ("use", "late"):
        try:
            getattr(parts.Net, name)(None)
        except (RuntimeError, ImportError) as error:
            told[name] = [type(error).__name__, str(error)]
    json.dump(told, open(path, "w"))
"""


@pytest.fixture
def small_pointcept(tmp_path):
    for path, text in (
        ("tools/train.py", TOOL),
        ("tools/test.py", "raise ValueError('the tool is broken')"),
        ("pointcept/__init__.py", ""),
        ("pointcept/parts.py", PARTS),
        ("pointcept/work.py", WORK),
        ("config.py", ""),
    ):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def command(folder, tool="train"):
    return [
        "-m",
        "pointcept_bsa.host.pointcept",
        tool,
        "--pointcept",
        str(folder),
        "--config",
        str(folder / "config.py"),
    ]


def test_tool_runs_unmodified_with_stand_ins_on_the_cpu_and_in_spawned_processes(small_pointcept, run_python, tmp_path):
    import torch

    torch.save(torch.ones(1, 1), tmp_path / "half.pt")
    output = run_python(
        *command(small_pointcept),
        *("--stub-missing", "--cpu", "--options", "a=1", "--", "--dist-url", "x"),
        TOLD=str(tmp_path / "told.json"),
        HALF=str(tmp_path / "half.pt"),
    )
    told = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    wanted = ["--config-file", str(tmp_path / "config.py"), "--options", "a=1", "--dist-url", "x"]
    assert told["here"] == {
        "argv": wanted,
        "dtype": "torch.bfloat16",
        "bases": ["Net", "Module", "Base", "object"],
    }
    assert output.count("no_such_extension is not installed, a stand-in") == 1 and output.count("--cpu:") == 1
    assert "no_such_accelerator" not in output
    there = told["there"]
    assert there["accelerator"] and not there["isinstance"]
    assert there["use"][0] == "StandInError" and "no_such_extension.Thing.make was called" in there["use"][1]
    assert there["late"][0] == "ModuleNotFoundError"


def test_missing_package_is_named_without_stand_ins(small_pointcept, run_python):
    output = run_python(*command(small_pointcept), "--cpu", returncode=1)
    assert "Pointcept imports 'no_such_extension'" in output and "--stub-missing" in output


def test_error_of_the_tool_stays_its_own(small_pointcept, run_python):
    assert "ValueError: the tool is broken" in run_python(*command(small_pointcept, "test"), returncode=1)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--pointcept", "nowhere"], "wanted a checkout of Pointcept"),
        (["--config", "nowhere.py"], "no such file"),
        (["--options", "resume=True"], "wanted weight=PATH as well"),
    ],
)
def test_mistakes_are_told_before_anything_starts(small_pointcept, more, words, capsys):
    assert main([*command(small_pointcept)[2:], *more]) == 2
    assert words in capsys.readouterr().err


def test_tool_must_be_train_or_test(capsys):
    assert main(["trian", "--pointcept", ".", "--config", "c"]) == 2
    assert "trian" in capsys.readouterr().err


def test_resume_with_a_weight_is_passed_on(small_pointcept):
    options = ["--options", "resume=True", "weight=last.pth"]
    arguments, environment = prepare([*command(small_pointcept)[2:], *options])
    assert arguments[2:] == options and environment["PCBSA_STUB_MISSING"] == ""
    with pytest.raises(InputError):
        prepare([*command(small_pointcept)[2:], *options[:2]])


def test_finder_stands_in_for_pointcepts_own_imports_only():
    finder = StandInFinder("pointcept", announce=False)
    sys.meta_path.append(finder)
    try:
        with pytest.raises(ModuleNotFoundError):
            import no_such_package_at_all  # noqa: F401
    finally:
        sys.meta_path.remove(finder)
    assert finder.packages == []
