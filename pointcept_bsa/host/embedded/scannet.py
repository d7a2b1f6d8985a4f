"""Labelled scenes in Pointcept's layout of ScanNet."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.registry import DATASETS, TRANSFORMS
from pointcept_bsa.host.embedded.transforms import Compose

FIELDS = {"coord": 3, "color": 3, "normal": 3}  # columns
PER_POINT = (*FIELDS, "segment", "instance")


@DATASETS.register_module()
class ScanNetDataset(Dataset):
    """``{data_root}/{split}/{scene}/{coord,color,normal,segment20,instance}.npy``, as Pointcept prepares it.

    ``coord`` (N, 3) in metres, ``color`` (N, 3) 0..255, ``normal`` (N, 3), ``segment20`` (N,) labels 0 to 19 or -1;
    labels and instances are -1 where there is no file.

    Args:
        split: a folder of ``data_root``, or several.
        data_root: the folder.
        transform: configs of transforms.
        test_mode: a sample is ``segment``, ``name`` and ``fragment_list``: each view of ``aug_transform``, taken apart
            by ``voxelize``, through ``post_transform``.
        test_cfg: with ``test_mode``, ``voxelize``, ``post_transform``, ``aug_transform``; ``crop`` must be None.
        cache: keep the scenes in memory.
        ignore_index: label of points that do not count.
        loop: how often an epoch goes through the scenes.

    Raises:
        InputError: no scenes, a field missing or of another shape.
    """

    def __init__(
        self,
        split: str | Sequence[str] = "train",
        data_root: str = "data/scannet",
        transform: Sequence[Mapping[str, Any]] | None = None,
        test_mode: bool = False,
        test_cfg: Mapping[str, Any] | None = None,
        cache: bool = False,
        ignore_index: int = -1,
        loop: int = 1,
    ) -> None:
        super().__init__()
        self.data_root, self.split, self.ignore_index = data_root, split, ignore_index
        self.transform, self.test_mode = Compose(transform), test_mode
        self.loop = 1 if test_mode else loop
        self.cached: dict[int, dict[str, Any]] | None = {} if cache else None
        splits = [split] if isinstance(split, str) else split
        self.data_list = [path for each in splits for path in sorted(Path(data_root, each).glob("*")) if path.is_dir()]
        if not self.data_list:
            raise InputError(f"data_root={data_root!r}: no scenes in {'/, '.join(splits)}/, wanted Pointcept's layout")
        if test_mode:
            views = dict(test_cfg or {})
            if not {"voxelize", "post_transform", "aug_transform"} <= views.keys() or views.get("crop") is not None:
                raise InputError("test_cfg: wanted voxelize, post_transform, aug_transform, and no crop")
            self.voxelize = TRANSFORMS.build(views["voxelize"])
            self.views = [Compose(view) for view in views["aug_transform"]]
            self.post_transform = Compose(views["post_transform"])

    def __len__(self) -> int:
        return len(self.data_list) * self.loop

    def __getitem__(self, idx: int) -> dict[str, Any]:
        sample = self.transform(self.get_data(idx))
        if not self.test_mode:
            return sample
        result = {key: sample.pop(key) for key in ("segment", "name")}
        result |= {key: sample.pop(key) for key in ("origin_segment", "inverse") if key in sample}
        parts = [part for view in self.views for part in self.voxelize(view(copy.deepcopy(sample)))]
        return result | {"fragment_list": [self.post_transform(part) for part in parts]}

    def get_data_name(self, idx: int) -> str:
        """Name of the scene."""
        return self.data_list[idx % len(self.data_list)].name

    def get_data(self, idx: int) -> dict[str, Any]:
        """One scene: arrays the caller may change."""
        number = idx % len(self.data_list)
        if self.cached is None:
            return self._read(self.data_list[number])
        if number not in self.cached:
            self.cached[number] = self._read(self.data_list[number])
        return copy.deepcopy(self.cached[number])

    def _read(self, scene: Path) -> dict[str, Any]:
        sample: dict[str, Any] = {"name": scene.name, "split": scene.parent.name, "index_valid_keys": list(PER_POINT)}
        for key, width in FIELDS.items():
            sample[key] = _load(scene / f"{key}.npy").astype(np.float32)
            if sample[key].shape != (len(sample["coord"]), width) or not len(sample[key]):
                raise InputError(
                    f"{scene / key}.npy: got shape {sample[key].shape}, wanted (N, {width}) as coord has N"
                )
        for key, file in (("segment", "segment20.npy"), ("instance", "instance.npy")):
            there = (scene / file).is_file()
            labels = _load(scene / file).reshape(-1) if there else np.full(len(sample["coord"]), -1)
            if len(labels) != len(sample["coord"]):
                raise InputError(
                    f"{scene / file}: got {len(labels)} labels, wanted {len(sample['coord'])}, one a point"
                )
            sample[key] = labels.astype(np.int32)
        return sample


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
