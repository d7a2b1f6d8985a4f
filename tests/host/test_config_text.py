"""Whatever a config may hold is written so that it is read as it was; the rest is refused before a training."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from host_toys import REPOSITORY
from hypothesis import example, given
from hypothesis import strategies as st

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import Config, complete_config, config_hash, config_text, load_config
from pointcept_bsa.host.embedded.config_text import plain_values
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.runs.flat_config import canonical, config_differences, flat_config

BASE = REPOSITORY / "configs/ellipsoid_flow/bsa.py"
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=[])), st.sampled_from(["{{ fileDirname }}", "{{$HOME:x}}", "class"])
)
NUMBERS = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.complex_numbers(allow_nan=False, allow_infinity=False)
)
LEAVES = st.one_of(st.none(), NUMBERS, TEXTS, st.binary())
KEYS = st.one_of(TEXTS, st.sampled_from(["a", "class", "not a name", "None", "ключ"]), st.integers())


def containers(inner: st.SearchStrategy) -> st.SearchStrategy:
    hashable = st.one_of(st.none(), NUMBERS, TEXTS)
    return st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.sets(hashable),
        st.frozensets(hashable),
        st.dictionaries(KEYS, inner),
    )


VALUES = st.recursive(LEAVES, containers, max_leaves=15)


def same(one, other) -> bool:
    """Equal, of the same types, NaN with itself."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, set | frozenset):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    return one == other


def public(cfg: Config) -> dict:
    """Without the names that are for configs alone, which are not written."""
    return {key: value for key, value in cfg.to_dict().items() if not key.startswith("_")}


@pytest.fixture(scope="module")
def base() -> Config:
    return load_config(str(BASE))


@given(VALUES)
@example([math.inf, -math.inf, math.nan, -0.0, 1e300, 10**30])
@example(("one",))
@example({"class": {"a-b": {1: set()}}, "x" * 300: "quote ' \" \\ \n \x00 {{ fileBasename }} {{_base_.model}}" * 9})
def test_what_is_written_is_read_as_it_was(base, tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "round.py"
    base.model["note"] = [value]
    before = public(base)
    path.write_text(config_text(base), encoding="utf-8")
    after = load_config(str(path))
    assert same(after.to_dict(), before)
    assert config_text(after) == config_text(base) and config_hash(after) == config_hash(base)
    assert not config_differences([flat_config(after), flat_config(base)])


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "configs").glob("[!_]*/*.py")), ids=lambda p: f"{p.parent.name}/{p.stem}"
)
def test_shipped_configs(path, tmp_path):
    cfg = load_config(str(path))
    (tmp_path / "config.py").write_text(config_text(cfg))
    again = load_config(str(tmp_path / "config.py"))
    assert again.to_dict() == public(cfg)
    assert config_hash(again) == config_hash(cfg)
    assert max(map(len, config_text(cfg).splitlines())) <= 120


def test_widths_that_follow_from_others_are_no_difference():
    part = dict(head=dict(out_channels=2), normalizer=dict(type="TargetNormalizer"))
    said = dict(head=dict(out_channels=2, in_channels=32), normalizer=dict(type="TargetNormalizer", channels=2))
    short, long = ({"model": {**p, "scalars": p, "domains": {"air": p}}} for p in (part, said))
    assert flat_config(short) == flat_config(long)
    assert flat_config({"model": dict(backbone=dict(head=dict(in_channels=3)))}) != flat_config({"model": {}})


def test_numbers_of_numpy_and_paths_become_plain_when_a_config_is_loaded(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        f"import numpy as np\nfrom pathlib import Path\n_base_ = [{str(BASE)!r}]\n"
        "optimizer = dict(lr=np.logspace(-3, -1, 3)[1], betas=tuple(np.array([0.5, 0.75])))\nseed = np.int64(3)\n"
        "model = dict(backbone=dict(ball_size=np.int32(32)))\ndata = dict(train=dict(data_root=Path('a') / 'b'))\n"
        "del np, Path\n"
    )
    cfg = load_config(str(mine))
    assert type(cfg.optimizer.lr) is float and cfg.optimizer.lr == pytest.approx(1e-2)
    assert cfg.optimizer.betas == (0.5, 0.75) and {type(beta) for beta in cfg.optimizer.betas} == {float}
    assert type(cfg.seed) is int and type(cfg.model.backbone.ball_size) is int
    assert cfg.data.train.data_root == "a/b"


@pytest.mark.parametrize(
    "value",
    [np.array([1, "x"], object), torch.ones(2), 10**5000, [10**5000], {10**5000: 1}],
    ids=["array", "tensor", "digits", "list", "key"],
)
def test_values_that_cannot_be_compared_or_written_are_one_line(config, tmp_path, value):
    for key in ("epoch", "amp_dtype", "nan_guard", "model", "mix_prob"):
        cfg = load_config(config)
        cfg[key] = value
        with pytest.raises(InputError, match=key):
            complete_config(cfg, {})


def test_plain_values_of_containers():
    value = {"a": [np.float32(0.5), (np.arange(2), {np.str_("x")})], "b": Path("c")}
    assert plain_values(value, "x") == {"a": [0.5, ([0, 1], {"x"})], "b": "c"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("model = dict(width=1, note=[dict(x=lambda: 1)])", "model.note.0.x=<function"),
        ("model = dict(note=object)", "model.note=<class 'object'>"),
        (
            "import datetime as _d\nmodel = dict(note=_d.date(2000, 1, 1))\ndel _d",
            "model.note=datetime.date(2000, 1, 1)",
        ),
        ("_deep = [1]\nfor _ in range(60):\n    _deep = [_deep]\nmodel = dict(note=_deep)", "nested more than 40 deep"),
        ("model = dict(note=10**5000)", "too many digits"),
    ],
)
def test_what_cannot_be_written_is_refused_before_training(config, run_dir, tmp_path, capsys, line, message):
    child = tmp_path / "child.py"
    child.write_text(f'_base_ = ["toy.py"]\n{line}\n')
    assert train_main(["--config", str(child)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not run_dir.exists()


@pytest.mark.parametrize("suffix", ["yaml", "yml", "json"])
def test_only_python_files_are_configs(config, tmp_path, capsys, suffix):
    """mmengine's reader of YAML makes the objects that a file asks for: it runs code."""
    other, mark = tmp_path / f"other.{suffix}", tmp_path / "mark"
    other.write_text(f"seed: !!python/object/apply:os.mkdir [{str(mark)!r}]\n")
    child = tmp_path / "child.py"
    child.write_text(f'_base_ = ["toy.py", "other.{suffix}"]\n')
    inner = tmp_path / "inner.py"
    inner.write_text('_base_ = "child.py"\n')
    for path in (other, child, inner):
        assert train_main(["--config", str(path)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "wanted a Python file" in error
    assert not mark.exists()


def test_equal_values_have_one_text():
    assert canonical({"a": [1, math.nan]}) == canonical({"a": (1.0, math.nan)})
    assert canonical({"a": 1, "b": {2, 3}}) == canonical({"b": {3, 2}, "a": 1})
    assert canonical("1") != canonical(1) and canonical(None) != canonical(math.nan)
    assert canonical(1.5) != canonical(1) and canonical(math.inf) != canonical(-math.inf)
