"""Your own data with a class for every point, for segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pointcept_bsa.arguments.carried import command_line
from pointcept_bsa.datasets.custom.labels import IGNORED
from pointcept_bsa.datasets.custom.stores import is_prepared
from pointcept_bsa.datasets.point_field import CustomFieldDataset
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS


@DATASETS.register_module("CustomLabelDataset")
class CustomLabelDataset(CustomFieldDataset):
    """Points (N, d) -> ``segment`` (N,): which of the K labels of the preparation a point has, -1 for none.

    In a test (``test_mode``) a sample is what ``SemSegTester`` takes: ``segment``, ``name`` and, as the one fragment,
    the whole cloud.

    Args:
        data_root: the folder that ``tools/prepare_data.py custom --label`` made.
        fields, protocol, validation, scale_to_box, split, transform, test_mode, test_cfg, cache, loop: see
            ``CustomFieldDataset``.

    Raises:
        InputError: no such folder.
    """

    name = "point_labels"
    gives_labels = True

    def __init__(self, split: str = "train", data_root: str = "data/custom", **options: Any) -> None:
        words = ("custom", "--src", "<your files>", "--dst", data_root, "--label", "<field>")
        hint = command_line("prepare_data", *words)
        if not is_prepared(data_root):
            raise InputError(f"data_root: {data_root!r} is no prepared folder of labels; make it with: {hint}")
        super().__init__(split, data_root, **options)
        if self.store.labels is None:
            raise InputError(f"data_root: {data_root!r} was prepared without --label; make one with: {hint}")
        self.labels = np.asarray(self.store.labels)

    def get_data(self, idx: int) -> dict[str, Any]:
        data = super().get_data(idx)
        given = np.rint(data.pop("target")[:, 0] + self.target_offset()[0]).astype(np.int64)
        segment = np.searchsorted(self.labels, given).clip(max=len(self.labels) - 1)
        data["segment"] = np.where(self.labels[segment] == given, segment, IGNORED)
        return data

    def __getitem__(self, idx: int) -> dict[str, Any]:
        sample = super().__getitem__(idx)
        if not self.test_mode or not self._has_transform:
            return sample
        fragment = {**sample, "index": torch.arange(len(sample["segment"]))}
        return {"segment": sample["segment"], "name": sample["name"], "fragment_list": [fragment]}
