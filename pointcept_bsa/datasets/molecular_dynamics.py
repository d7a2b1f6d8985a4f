"""Molecular dynamics: accelerations of the beads of a polymer from their past velocities.

Data: single chains of coarse-grained polymers in implicit solvent: M. A. Webb, N. E. Jackson, P. S. Gil, J. J. de
Pablo, "Targeted sequence design within the coarse-grained polymer genome", Science Advances 6 (2020) eabc6216; as
trajectories for learning: X. Fu, T. Xie, N. J. Rebello, B. Olsen, T. Jaakkola, "Simulate Time-integrated Coarse-grained
Molecular Dynamics with Multi-scale Graph Networks", TMLR 2023. Raw data become the prepared folder by
``tools/prepare_data.py md``.

Letters: T frames, N beads, E bonds, k bonds of a bead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pointcept_bsa.datasets.base import PointFieldDataset
from pointcept_bsa.datasets.prepared import PreparedFolder
from pointcept_bsa.datasets.windows import WindowNames, neighbor_table
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS

HISTORY = 16  # frames that are known, the last of them the present
WINDOW = HISTORY + 1
NUM_TYPES = 4
PROTOCOL = "90/10/40"
COUNTS = {"train": 90, "val": 10, "test": 40}
FRAMES = {"train": 10000, "val": 10000, "test": 1000}  # used of each trajectory
# As the published Erwin code normalises, without means; configs/_base_/md.py scales positions and velocities so.
PUBLISHED_STD = {
    "position": [21.4457, 31.7121, 25.5143],
    "velocity": [1.2809, 1.2735, 1.2792],
    "acceleration": [1.7428, 1.7295, 1.7390],
}


@DATASETS.register_module()
class MolecularDynamicsDataset(PointFieldDataset):
    """Windows of 17 frames of a polymer's trajectory -> the acceleration that leads from the 16th to the last.

    A frame is the unit of time: velocities are differences of successive positions, the target (N, 3) is
    x[t+1] - 2 x[t] + x[t-1]. A sample has, of the first 16 frames alone: ``coord (N, 3)``, the present positions;
    ``velocity (N, 45)``, the 15 past velocities, the oldest first; ``particle_type (N, 4)``, one of four kinds of beads
    as 0 and 1; ``neighbor_index (N, k)``, the beads it is bonded to, -1 for none: edges of the message passing.

    Args:
        data_root: the folder that ``tools/prepare_data.py md`` made.
        protocol: "90/10/40": the trajectories of Fu et al. (training and validation: 10,000 frames, test: 1,000 frames
            of other, "class 2", polymers), as Erwin and Erwin-NSA; "partial"; None: the prepared folder's default.
        stride: frames from one window to the next. 1: all windows, as published.
        noise: (largest, smallest, levels): each window of the training split gets Gaussian noise on its 16 known
            positions, of a standard deviation drawn from so many levels in equal ratios; the next position stays as it
            is, so that the target makes good for the noise. Fu et al. train with (0.1, 0.01, 10); the published Erwin
            code has the same in it but never calls it. None: no noise.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, a trajectory shorter than a window, an unknown protocol.
    """

    name = "molecular_dynamics"
    target_fields = ("acceleration",)
    target_names = ("acceleration_x", "acceleration_y", "acceleration_z")
    target_units = ("length unit of the simulation / frame^2",) * 3

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/md",
        protocol: str | None = None,
        stride: int = 1,
        noise: Sequence[float] | None = None,
        **common: Any,
    ) -> None:
        if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
            raise InputError(f"stride: got {stride!r}, wanted an integer of at least 1")
        self.noise_levels = check_noise(noise) if split == "train" else None
        self.stride = stride
        hint = (
            f"python tools/prepare_data.py md --src <folder of polymer_train, polymer_test, splits> --dst {data_root}"
        )
        self.folder = PreparedFolder(data_root, hint)
        self.protocol = self.folder.choose_protocol(protocol)
        super().__init__(split=split, data_root=data_root, **common)
        self._chains = {name: self._read_chain(name) for name in self.trajectories}
        self.max_bonds = max((table.shape[1] for table, _ in self._chains.values()), default=0)

    def list_samples(self) -> Sequence[str]:
        self.trajectories = list(self.folder.split(self.protocol)[self.split])
        counts = []
        for name in self.trajectories:
            frames = len(self.positions(name))
            if frames < WINDOW:
                raise InputError(f"{self.folder.file(name, 'position')}: has {frames} frames, wanted at least {WINDOW}")
            counts.append((frames - WINDOW) // self.stride + 1)
        return WindowNames(self.trajectories, counts, self.stride)

    def load_fields(self, index: int) -> dict[str, Any]:
        assert isinstance(self.data_list, WindowNames)
        name, start = self.data_list.place(index)
        frames = np.array(self.positions(name)[start : start + WINDOW], dtype=np.float64)  # (17, N, 3)
        if self.noise_levels is not None:
            frames[:HISTORY] += np.random.choice(self.noise_levels) * np.random.standard_normal(frames[:HISTORY].shape)
        return {**self.inputs(name, frames[:HISTORY]), "acceleration": frames[-1] - 2 * frames[-2] + frames[-3]}

    def positions(self, trajectory: str) -> np.ndarray:
        """The frames of a trajectory: (T, N, 3) float32, mapped from disk."""
        return self.folder.read(trajectory, "position", (None, None, 3))

    def bonds(self, trajectory: str) -> np.ndarray:
        """The bonds of a trajectory's chain: (E, 2) beads."""
        return np.array(self.folder.read(trajectory, "bonds", (None, 2), kind="i"))

    def inputs(self, trajectory: str, history: np.ndarray) -> dict[str, np.ndarray]:
        """What a network gets to know: the fields of a sample but the target, from positions (16, N, 3)."""
        neighbors, kinds = self._chains[trajectory]
        table = np.pad(neighbors, ((0, 0), (0, self.max_bonds - neighbors.shape[1])), constant_values=-1)
        velocity = np.diff(history, axis=0).transpose(1, 0, 2)  # (N, 15, 3)
        return {
            "coord": history[-1],
            "velocity": velocity.reshape(len(neighbors), -1),
            "particle_type": np.eye(NUM_TYPES, dtype=np.float32)[kinds],
            "neighbor_index": table,
        }

    def where(self, index: int, field: str) -> str:
        return f"{self.folder.root} window {self.data_list[index]}"

    def target_statistics(self) -> dict[str, Any]:
        if self.protocol == PROTOCOL:
            return {
                "mean": [0.0] * 3,
                "std": PUBLISHED_STD["acceleration"],
                "source": f"published constants, protocol {PROTOCOL}",
            }
        found = self.folder.field_statistics(self.protocol, "acceleration")
        return {"mean": found["mean"], "std": found["std"], "source": f"training split, protocol {self.protocol}"}

    def protocol_name(self) -> str:
        return self.protocol

    def notes(self) -> list[str]:
        notes = [f"{len(self.trajectories)} trajectories", "published NLL and MSE are those of the normalised target"]
        return notes if self.stride == 1 else [*notes, f"every {self.stride}th window only"]

    def _read_chain(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Table of bonded beads (N, k) and kinds (N,) of a trajectory."""
        kinds = np.array(self.folder.read(name, "particle_type", (None,), kind="i"))
        beads = self.positions(name).shape[1]
        if len(kinds) != beads or (beads and not (0 <= kinds.min() and kinds.max() < NUM_TYPES)):
            raise InputError(
                f"{self.folder.file(name, 'particle_type')}: has {len(kinds)} types, wanted {beads} from 0 to 3"
            )
        try:
            return neighbor_table(self.bonds(name), beads), kinds
        except ValueError as error:
            raise InputError(f"{self.folder.file(name, 'bonds')}: {error}") from None


def check_noise(noise: Sequence[float] | None) -> np.ndarray | None:
    """Return the standard deviations of the noise, in equal ratios.

    Raises:
        InputError: not (largest, smallest, levels).
    """
    if noise is None:
        return None
    if len(noise) != 3 or not 0 < noise[1] <= noise[0] < float("inf") or noise[2] < 1 or int(noise[2]) != noise[2]:
        raise InputError(f"noise: got {noise!r}, wanted (largest, smallest, number of levels), as (0.1, 0.01, 10)")
    return np.geomspace(noise[0], noise[1], int(noise[2]))
