"""No input crashes a reader: it is read, or refused by an ``InputError`` of one line.

Nothing hangs, nothing is allocated out of proportion, no file is written, no process is started. A longer run:

    PCBSA_FUZZ_EXAMPLES=20000 python -m pytest tests/fuzz -s

draws new inputs each time, 20,000 of each kind (options, configs, checkpoints, meshes, ...), shared by the targets of
the kind, and prints how many were read and how many refused. It takes about ten minutes.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzz_meshes import CSV_TEXTS
from fuzz_mutations import mutate, operations
from fuzz_run_targets import RUN_NAMES, run_targets
from fuzz_sandbox import watched
from fuzz_targets import NAMES, all_targets
from fuzz_values import change, changes
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import read_mesh
from pointcept_bsa.mesh_io.csv_text import Rows
from pointcept_bsa.training.checkpoints.checkpoint import load_checkpoint

LONG = "PCBSA_FUZZ_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("PCBSA_FUZZ_EXAMPLES", "0"))  # of a kind
FEW = 30  # of a target, without a wish for more
OTHERS = ("split.json", "stats.json", "fields.json")  # what readers of a folder need beside the damaged file


def settings_of(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=not LONG,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="session")
def targets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    return {target.name: target for target in (*all_targets(folder), *run_targets(folder))}


def test_every_reader_is_listed(targets):
    assert tuple(targets) == (*NAMES, *RUN_NAMES)


@pytest.mark.parametrize("name", (*NAMES, *RUN_NAMES))
def test_valid_files_are_read(targets, tmp_path, name):
    target = targets[name]
    path = tmp_path / Path(name).name
    for seed in target.seeds:
        path.write_bytes(target.wrap(seed))
        target.read(path)


def attempt(target, path, content):
    """Return "read" or "refused"; anything else fails."""
    path.write_bytes(content)
    with watched(path.parent) as seen, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target.read(path)
            outcome = "read"
        except InputError as error:
            assert "\n" not in str(error), str(error)
            outcome = "refused"
    assert not seen, seen
    assert {entry.name for entry in path.parent.iterdir()} <= {path.name, *OTHERS}
    return outcome


@pytest.mark.parametrize("name", (*NAMES, *RUN_NAMES))
def test_damaged_files_are_read_or_refused(targets, tmp_path_factory, name):
    target = targets[name]
    path = tmp_path_factory.mktemp("fuzz") / Path(name).name
    counts: Counter = Counter()
    damage = (lambda seed, steps: change(seed, steps, target.odd)) if target.odd else mutate
    share = -(-EXAMPLES // sum(other.kind == target.kind for other in targets.values()))

    @settings_of(share if LONG else FEW)
    @given(st.integers(0, len(target.seeds) - 1), changes if target.odd else operations)
    def run(seed, steps):
        counts[attempt(target, path, target.wrap(damage(target.seeds[seed], steps)))] += 1

    run()
    assert counts["refused"] > 0  # the damage shows
    if LONG:
        print(f"\n{target.kind}: {name}: {counts.total()} inputs, {counts['read']} read, {counts['refused']} refused")


def test_rows_of_a_table_at_once_and_one_by_one_are_the_same(tmp_path_factory):
    """numpy's parser and what is asked where it refuses take the same texts for the same numbers."""
    path = tmp_path_factory.mktemp("fuzz") / "a.csv"
    counts: Counter = Counter()

    def outcome():
        try:
            mesh = read_mesh(path)
        except InputError as error:
            return str(error), {}
        return mesh.left_out, {"points": mesh.points, **mesh.point_data}

    @settings_of(max(EXAMPLES, 500))
    @given(st.integers(0, len(CSV_TEXTS) - 1), operations)
    def run(seed, steps):
        path.write_bytes(mutate(CSV_TEXTS[seed], steps))
        said, values = outcome()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Rows, "_table", lambda rows, lines: None)
            again, others = outcome()
        assert said == again and values.keys() == others.keys()
        for name in values:
            np.testing.assert_array_equal(values[name], others[name])
        counts["read" if values else "refused"] += 1

    run()
    assert counts["read"] > 50 and counts["refused"] > 50


def test_checkpoints_that_announce_more_than_they_hold_are_refused(tmp_path):
    """torch's format before 1.6 allocates what it announces; a packed archive may unfold to anything."""
    old, packed = tmp_path / "old.pth", tmp_path / "packed.pth"
    torch.save({"state_dict": {"w": torch.zeros(3)}}, old, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="no archive as torch 1.6 and later write"):
        load_checkpoint(old)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(InputError, match="announces 1000000 bytes"):
        load_checkpoint(packed)


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"state_dict": {"w": torch.zeros(1)}, "x": Evil()}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path / "a.pth")
    assert not (tmp_path / "made").exists()
