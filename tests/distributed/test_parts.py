"""Parts of clouds."""

import pytest
import torch

from pointcept_bsa.distributed.parts import cut, joined, part_of, sum_over_parts, whole_lengths
from pointcept_bsa.errors import InputError
from pointcept_bsa.samples import Batch


@pytest.mark.parametrize(("points", "size"), [(7, 2), (8, 4), (9, 4), (4, 4)])
def test_every_point_is_in_one_part_and_parts_differ_by_one(points, size):
    parts = [part_of(points, rank, size) for rank in range(size)]
    assert [row for part in parts for row in range(points)[part]] == list(range(points))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1 and min(sizes) > 0


def sample(**others) -> dict:
    return {
        "coord": torch.arange(21.0).view(7, 3),
        "domain": torch.tensor([0, 1, 1, 0, 1, 1, 1]),
        "domain_offset": torch.tensor([2, 7]),
        "parameters": torch.ones(1, 2),
        "tree_order": torch.arange(7),
        "name": "seven",
        "offset": torch.tensor([7]),
        **others,
    }


def test_a_part_has_its_rows_its_ends_and_what_is_of_the_whole_cloud():
    first, second = (cut(sample(), rank, 2) for rank in range(2))
    assert torch.equal(torch.cat([first["coord"], second["coord"]]), sample()["coord"])
    assert [part["offset"].tolist() for part in (first, second)] == [[3], [4]]
    assert [part["domain_offset"].tolist() for part in (first, second)] == [[1, 3], [1, 4]]
    for part in (first, second):
        assert "tree_order" not in part and part["name"] == "seven" and part["parameters"].shape == (1, 2)
        batch = Batch.of(part)
        assert whole_lengths(batch) == (7,) and whole_lengths(batch, "domain_offset") == (2, 5)


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(InputError, match="got 8 processes for 'seven' of 7 points, wanted at least a point for each"):
        cut(sample(), 0, 8)
    with pytest.raises(InputError, match="'anchor_offset'"):
        cut(sample(anchor_offset=torch.tensor([3])), 0, 2)


def test_with_one_process_a_part_is_its_cloud():
    x = torch.rand(5, 2)
    assert sum_over_parts(x) is x and joined(x, [2, 3]) is x
    assert whole_lengths(Batch.of({"offset": torch.tensor([2, 5])})) == (2, 3)
