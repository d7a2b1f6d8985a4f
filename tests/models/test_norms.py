"""``norm`` of the models: the same in training and evaluation, alone and in a batch, with and without padding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS, collate_fn
from pointcept_bsa.layers.cloud_norm import NORMS
from pointcept_bsa.samples import Batch
from pointcept_bsa.training.checkpoints.checkpoint import load_weights
from pointcept_bsa.training.checkpoints.export import load_safetensors, save_safetensors
from pointcept_bsa.training.optimizer import MovingAverage

from .test_padding import BACKBONES as PADDED
from .test_padding import ERWIN, PTV3, clouds, padded, same_step

LENGTHS = (100, 33, 100, 7)
BACKBONES = {
    "erwin": ERWIN,
    "erwin copies": ERWIN | dict(pad="power_of_two"),
    "ptv3": PTV3 | dict(drop_path=0.0, shuffle_orders=False),
}


def regressor(backbone, norm, kind="DefaultRegressor"):
    torch.manual_seed(0)
    gaussian = kind == "GaussianRegressor"
    model = MODELS.build(
        dict(
            type=kind,
            norm=norm,
            backbone=dict(backbone),
            head=dict(type="GaussianHead" if gaussian else "RegressionHead", in_channels=16, out_channels=2),
            normalizer=dict(type="TargetNormalizer", channels=2, mean=[0.0, 1.0], std=[1.0, 2.0]),
            criteria=[dict(type="GaussianNLLLoss" if gaussian else "MSELoss")],
        )
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # so that a norm that is left out shows
        for module in model.backbone.modules():
            if type(module) in KINDS:
                for parameter in module.parameters():
                    parameter.add_(torch.rand(parameter.shape, generator=generator))
    return model.double()


KINDS = {nn.BatchNorm1d, *(type(make(nn.BatchNorm1d(8), None)) for make in NORMS.values())}


def samples(lengths=LENGTHS, seed=0):
    """Clouds of very different features."""
    found = clouds(lengths, seed)
    for i, sample in enumerate(found):
        sample["feat"] = sample["feat"] * (i + 1) + i
        sample["grid_coord"] = ((sample["coord"] + 5) * 4).long()
    return found


def predicted(model, batch):
    with torch.no_grad():
        return model.predict(batch)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", BACKBONES)
def test_training_and_evaluation_and_batch_and_singles_agree(name, norm):
    model, parts = regressor(BACKBONES[name], norm), samples()
    assert not any(isinstance(module, nn.BatchNorm1d) for module in model.modules())
    state = copy.deepcopy(model.state_dict())
    batch = predicted(model.train(), collate_fn(parts))
    torch.testing.assert_close(batch, predicted(model.eval(), collate_fn(parts)), rtol=1e-9, atol=1e-9)
    singles = torch.cat([predicted(model, collate_fn([part])) for part in parts])
    torch.testing.assert_close(batch, singles, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())  # nothing runs along


def test_each_norm_computes_something_else():
    batch = collate_fn(samples())
    for name in BACKBONES:
        found = [predicted(regressor(BACKBONES[name], norm).train(), batch) for norm in ("batch", *NORMS)]
        for i, one in enumerate(found):
            for other in found[:i]:
                assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("name", BACKBONES)
def test_one_cloud_under_its_own_statistics_is_batch_norm_in_training(name):
    batch = collate_fn(samples((100,)))
    torch.testing.assert_close(
        predicted(regressor(BACKBONES[name], "cloud").eval(), batch),
        predicted(regressor(BACKBONES[name], "batch").train(), batch),
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["erwin", "erwin one tree"])
def test_padded_clouds_train_alike(name, norm):
    model, parts = regressor(PADDED[name], norm).train(), samples((100, 1, 33, 250))
    same_step(model, collate_fn(parts), padded(model, parts))


@pytest.mark.parametrize("norm", ["layer", "cloud"])
def test_one_program_serves_all_clouds_of_as_many_slots(norm):
    """As a CUDA graph must: nothing that was read from a batch is in the program."""
    model = regressor(ERWIN, norm).train()
    parameters = list(model.parameters())
    first, second = (padded(model, samples(n, seed)) for seed, n in enumerate([(129, 40), (250, 128)]))
    ends = first["offset"].tolist()

    def step(tensors):
        batch = Batch.of(tensors, {"offset": ends})
        return torch.autograd.grad(model(batch)["loss"], parameters)

    first, second = ({k: v for k, v in batch.items() if k != "name"} for batch in (first, second))
    program = make_fx(step)(first)
    for got, wanted in zip(program(second), step(second), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", ["batch", *NORMS])
@pytest.mark.parametrize("name", ["erwin", "ptv3"])
def test_mixed_precision_keeps_types(name, norm):
    model, seen = regressor(BACKBONES[name], norm).float().train(), []
    batch = collate_fn(samples())
    batch |= {key: batch[key].float() for key in ("coord", "feat", "target")}
    plain = [type(module) for module in regressor(BACKBONES[name], "batch").modules()]
    for module, kind in zip(model.modules(), plain, strict=True):
        if kind is nn.BatchNorm1d:
            module.register_forward_hook(lambda module, args, out: seen.append((args[0].dtype, out.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(batch)["loss"]
    loss.backward()
    assert loss.isfinite() and seen and all(given == taken for given, taken in seen)
    assert {given for given, _ in seen} >= {torch.bfloat16}
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm not in ("rms", "none")])
def test_checkpoints_say_which_norm_they_are_of(norm, tmp_path):
    batch, model = regressor(ERWIN, "batch"), regressor(ERWIN, norm)
    names = {name for name, _ in batch.named_parameters()}
    assert {name for name, _ in model.named_parameters()} == names
    buffers = {name for name, _ in model.named_buffers()} - {name for name, _ in batch.named_buffers()}
    assert buffers == {f"backbone.norm_is_{norm}"}
    assert not any("norm_is" in name for name in batch.state_dict())

    again = regressor(ERWIN, norm)
    with torch.no_grad():
        again.backbone.pooling[0].norm.weight.zero_()
    load_weights(again, model.state_dict(), "here")
    assert torch.equal(again.backbone.pooling[0].norm.weight, model.backbone.pooling[0].norm.weight)
    save_safetensors(tmp_path / "w.safetensors", model.state_dict(), {})
    load_weights(again, load_safetensors(tmp_path / "w.safetensors")[0], "here")

    others = [other for other in ("batch", *NORMS) if other != norm]
    for other in others:
        with pytest.raises(InputError, match="another model: .*norm_is_.*another model.norm"):
            load_weights(again, regressor(ERWIN, other).state_dict(), "here")
    load_weights(again, batch.state_dict(), "here", strict=False)  # a start for a training
    assert all(torch.equal(p, q) for p, q in zip(batch.parameters(), again.parameters(), strict=True))

    average = MovingAverage(model, decay=0.5)
    average.update()
    assert set(average.state_dict()) == names


def test_networks_without_batch_norm_are_left_alone():
    backbone = PADDED["bsa"]
    one, other = (regressor(backbone, norm) for norm in ("batch", "cloud"))
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def test_the_choice_draws_no_random_numbers():
    one, other = (regressor(ERWIN, norm) for norm in ("batch", "layer"))
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def test_other_models_take_it_too():
    gaussian = regressor(ERWIN, "cloud", "GaussianRegressor")
    segmentor = MODELS.build(
        dict(
            type="DefaultSegmentorV2",
            num_classes=3,
            backbone_out_channels=16,
            backbone=dict(ERWIN),
            criteria=[dict(type="CrossEntropyLoss")],
            norm="cloud",
        )
    )
    for model in (gaussian, segmentor):
        assert "backbone.norm_is_cloud" in model.state_dict()
    batch = collate_fn(samples())
    torch.testing.assert_close(gaussian.train().predict(batch), gaussian.eval().predict(batch))


def test_an_unknown_norm_is_an_input_error():
    for norm, wanted in (("lyer", "one of batch, layer"), (None, "a text"), (3, "a text")):
        with pytest.raises(InputError, match=f"norm: got {norm!r}, wanted {wanted}"):
            regressor(ERWIN, norm)
