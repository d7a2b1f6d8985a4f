"""Scores of classes, by hand; training, evaluation and test of labels: tests/datasets/test_point_labels.py."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.training.semantic_segmentation import class_counts, scores


def test_scores_by_hand():
    pred, segment = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 1, 1, -1, 0])
    counts = class_counts(pred, segment, 3, -1)
    assert counts.tolist() == [[1, 2, 0], [3, 3, 1], [2, 3, 0]]
    found = scores(counts)
    assert found["iou"] == pytest.approx([1 / 3, 2 / 3, 0]) and found["mIoU"] == pytest.approx(1 / 3)
    assert found["allAcc"] == pytest.approx(3 / 5)
