"""AB-UPT with a branch for each domain: what attends to what."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS, collate_fn

SIZE = dict(in_channels=4, out_channels=8, channels=16, num_heads=2, num_supernodes=6, geometry_depth=1, radius=1.0,
            num_neighbors=5, position_scale=4.0)  # fmt: skip


def build(**options):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(type="ABUPTJoint-v1m1", **SIZE | dict(num_anchors=7, blocks="sc", domain_depth=1) | options)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


def cloud(surface: int, volume: int, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    n = surface + volume
    domain = torch.cat([torch.zeros(surface, dtype=torch.long), torch.ones(volume, dtype=torch.long)])
    return dict(
        coord=torch.randn(n, 3),
        feat=torch.randn(n, 4),
        domain=domain,
        offset=torch.tensor([n]),
        domain_offset=torch.tensor([surface, n]),
    )


def run(model, data):
    with torch.no_grad():
        return model(data)["feat"]


def test_of_one_domain_it_is_the_form_for_one_surface():
    joint = build(domains=1, blocks="sss", domain_depth=0, num_anchors=9)
    plain = MODELS.build(dict(type="ABUPT-v1m1", **SIZE, num_anchors=9, depth=3)).eval()
    with torch.no_grad():
        joint.domain_embedding.weight.zero_()
    weights = joint.state_dict()
    weights.pop("domain_embedding.weight")
    plain.load_state_dict(weights)
    data = collate_fn([cloud(20, 0, 0), cloud(13, 0, 1)])
    data["domain_offset"] = data["offset"]
    torch.testing.assert_close(run(joint, data), run(plain, data), rtol=1e-5, atol=1e-5)


def test_a_batch_is_its_clouds_and_the_order_of_points_is_nothing():
    model, clouds = build(), [cloud(15, 20, 0), cloud(9, 12, 1)]
    together = run(model, collate_fn(clouds))
    torch.testing.assert_close(together, torch.cat([run(model, each) for each in clouds]), rtol=1e-5, atol=1e-5)
    order = torch.randperm(35)
    mixed = {key: value[order] if len(value) == 35 else value for key, value in clouds[0].items()}
    torch.testing.assert_close(run(model, mixed), together[:35][order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("blocks", "crosses"), [("s", False), ("c", True)])
def test_self_blocks_stay_within_a_domain_and_cross_blocks_leave_it(blocks, crosses):
    model, data = build(blocks=blocks, num_anchors=50), cloud(15, 20, 0)
    other = {**data, "feat": data["feat"].clone()}
    other["feat"][15:] += 1.0  # of the volume alone; the geometry knows no features
    before, after = run(model, data), run(model, other)
    assert torch.allclose(before[:15], after[:15], atol=1e-6) != crosses
    assert not torch.allclose(before[15:], after[15:], atol=1e-3)


def test_points_that_are_no_anchors_change_nobody_else():
    model, data = build(num_anchors=3), cloud(15, 20, 0)
    before = run(model, data)
    changed = 0
    for point in range(15, 35):
        other = {**data, "feat": data["feat"].clone()}
        other["feat"][point] += 1.0
        differs = ~torch.isclose(run(model, other), before, atol=1e-5).all(1)
        assert differs[point]
        changed += int(differs.sum()) > 1
    assert changed == 3  # the anchors of the volume


def test_blocks_of_a_domain_are_its_own():
    model, data = build(blocks="s", domain_depth=1), cloud(15, 20, 0)
    before = run(model, data)
    with torch.no_grad():
        model.domain_blocks[1][0].mlp[0].weight += 0.5
    after = run(model, data)
    assert torch.equal(before[:15], after[:15]) and not torch.allclose(before[15:], after[15:], atol=1e-3)


def test_every_parameter_learns_and_counting_is_the_same():
    model, data = build().train(), collate_fn([cloud(15, 20, 0), cloud(9, 12, 1)])
    model(data)["feat"].square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())
    counted = {key: value for key, value in data.items() if key != "domain_offset"}
    assert torch.equal(run(model, counted), run(model, data))


@pytest.mark.parametrize(
    "options", [dict(blocks="sp"), dict(domains=1), dict(geometry_domain=2), dict(depth=3), dict(domain_depth=-1)]
)
def test_wrong_arguments_are_named(options):
    with pytest.raises(ValueError, match="blocks: got|geometry_domain: got|depth: wanted|domain_depth: got -1"):
        build(**options)


def test_what_it_does_not_take_is_refused():
    with pytest.raises(InputError, match="no points of domain 1"):
        run(build(), cloud(15, 0, 0))
    with pytest.raises(InputError, match="pad_clouds"):
        build().padding(16)
