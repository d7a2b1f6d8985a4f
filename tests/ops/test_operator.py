"""Operators that are called directly where nothing is looking on: as the registered ones, and seen by all who look."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

import pointcept_bsa
from pointcept_bsa.ops import operator as module
from pointcept_bsa.ops.operator import operator

NEEDED: list[object] = []  # what the backward passes saw of ctx.needs_input_grad


@operator("test_operator::product")
def product(a: Tensor, b: Tensor, c: Tensor | None, times: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """times a b (+ c) in ``dtype``, and the sums of its rows."""
    out = times * a * b if c is None else times * a * b + c
    return out.to(dtype), out.sum(-1)


@product.register_fake
def _(a, b, c, times, dtype):
    return a.new_empty(a.shape, dtype=dtype), a.new_empty(a.shape[:-1])


@operator("test_operator::product_backward")
def product_backward(grad: Tensor, a: Tensor, b: Tensor, times: int) -> tuple[Tensor, Tensor]:
    return times * grad * b, times * grad * a


@product_backward.register_fake
def _(grad, a, b, times):
    return torch.empty_like(a), torch.empty_like(b)


def keep(ctx, inputs, output):
    a, b, c, ctx.times, _ = inputs
    ctx.save_for_backward(a, b, c, output[0])
    ctx.set_materialize_grads(False)


def gradient(ctx, grad, of_sums):
    NEEDED.append(ctx.needs_input_grad)
    a, b, c, _ = ctx.saved_tensors
    given = [g for g in (grad, None if of_sums is None else of_sums[:, None].expand_as(a)) if g is not None]
    if not given:
        return (None,) * 5
    whole = sum(given)
    return *product_backward(whole, a, b, ctx.times), None if c is None else whole, None, None


product.register_autograd(gradient, setup_context=keep)


@register_flop_formula(torch.ops.test_operator.product)
def _(a, *args, **kwargs):
    return 3 * a[0] * a[1]


@operator("test_operator::mixes")
def mixes(xs: list[Tensor], shifts: list[float], weights: list[Tensor], last: Tensor | None) -> list[Tensor]:
    """For each x the sum of w x + shift over the weights; and of all of it the square, plus ``last``."""
    outs = [sum(w * x for w in weights) + sum(shifts) for x in xs]
    squares = sum(out.square() for out in outs)
    return [*outs, squares if last is None else squares + last]


@mixes.register_fake
def _(xs, shifts, weights, last):
    return [torch.empty_like(x) for x in (*xs, xs[0])]


def keep_mixes(ctx, inputs, output):
    xs, ctx.shifts, weights, last = inputs
    ctx.count, ctx.last = len(xs), last is not None
    ctx.save_for_backward(*xs, *weights)


def gradient_of_mixes(ctx, grads):
    NEEDED.append(ctx.needs_input_grad)
    xs, weights = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
    outs = [sum(w * x for w in weights) + sum(ctx.shifts) for x in xs]
    *each, of_squares = grads
    of_outs = [grad + 2 * out * of_squares for grad, out in zip(each, outs, strict=True)]
    of_weights = [sum(grad * x for grad, x in zip(of_outs, xs, strict=True)).sum() for _ in weights]
    return [grad * sum(weights) for grad in of_outs], None, of_weights, of_squares if ctx.last else None


mixes.register_autograd(gradient_of_mixes, setup_context=keep_mixes)


@operator("test_operator::ranks")
def ranks(x: Tensor, start: int = 1) -> Tensor:
    return x.argsort(-1).argsort(-1) + start


@ranks.register_fake
def _(x, start=1):
    return torch.empty_like(x, dtype=torch.int64)


@pytest.fixture(autouse=True)
def _nothing_needed_yet():
    NEEDED.clear()


@pytest.fixture
def registered(monkeypatch):
    """The names of the operators that were called the registered way."""
    calls = []

    def note(name, call, *args, **kwargs):
        calls.append(name.split("::")[1])
        return call(*args, **kwargs)

    for op in (product, product_backward, mixes, ranks):
        monkeypatch.setattr(op, "registered", partial(note, op.name, op.registered))
    return calls


def numbers(*shape, grad=False):
    return torch.randn(shape, dtype=torch.float64).requires_grad_(grad)


def product_case(wants):
    a, b, c = (numbers(3, 4, grad=want) for want in wants)
    return [a, b, c, 3, torch.float64], [a, b, c]


def mixes_case(wants):
    x, other, v, w, last = (numbers(3, 4, grad=want) for want in wants)
    v, w = (t.detach()[0, 0].clone().requires_grad_(t.requires_grad) for t in (v, w))
    return [[x, other], [0.5, 2.0], [v, w], last], [x, other, v, w, last]


CASES = [
    (product, product_case, (True, True, True)),
    (product, product_case, (False, True, False)),
    (mixes, mixes_case, (True, True, True, True, True)),
    (mixes, mixes_case, (False, True, True, False, False)),
    (mixes, mixes_case, (False, False, False, False, True)),
]


@pytest.mark.parametrize("op, case, wants", CASES)
@pytest.mark.parametrize("used", [slice(None), slice(1), slice(1, 2)], ids=["all", "first", "second"])
def test_results_and_gradients_are_those_of_the_registered_way(op, case, wants, used, registered):
    args, leaves = case(wants)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    found = []
    for call in (op, getattr(torch.ops.test_operator, op.name.split("::")[1])):
        outs = call(*args)
        assert all(out.requires_grad for out in outs)
        grads = torch.autograd.grad([out.sin().sum() for out in outs[used]], wanted, allow_unused=True)
        found.append((type(outs), outs, grads))
    assert registered == []
    assert NEEDED[0] == NEEDED[1]
    (kind, outs, grads), (same_kind, same_outs, same_grads) = found
    assert kind is same_kind
    for a, b in zip((*outs, *grads), (*same_outs, *same_grads), strict=True):
        assert torch.equal(a, b)
    assert torch.autograd.gradcheck(lambda *_: tuple(op(*args)), wanted)


def test_inputs_that_want_no_gradient_get_none():
    args, (a, b, c) = product_case((False, True, False))
    product(*args)[0].sum().backward()
    assert a.grad is None and c.grad is None and torch.equal(b.grad, 3 * a)
    assert NEEDED == [(False, True, False, False, False)]
    args, (x, other, v, _, _) = mixes_case((True, False, True, False, False))
    mixes(*args)[0].sum().backward()
    assert other.grad is None and x.grad is not None and v.grad is not None
    assert NEEDED[1] == ([True, False], False, [True, False], False)


def test_direct_way_is_the_usual_one(registered):
    """With the torch that is installed: where this fails it lacks one of the private names in ``operator._watch``."""
    args, (a, b, _) = product_case((False, False, False))
    assert not any(out.requires_grad for out in product(*args))
    product(Parameter(a), *args[1:])[0].sum().backward()
    with torch.no_grad():
        assert not product(Parameter(a), *args[1:])[0].requires_grad
    with torch.inference_mode():
        assert product(*args)[0].is_inference()
    with torch.autocast("cpu", torch.bfloat16):
        product(a, b, None, 2, torch.float32)
    assert not ranks(Parameter(a)[0].detach()).requires_grad and ranks(a).dtype == torch.int64
    assert all(not out.requires_grad for out in mixes(*mixes_case([False] * 5)[0]))
    mixes(*mixes_case([True] * 5)[0])[0].sum().backward()
    assert registered == []


def test_torch_without_a_private_name_has_the_registered_way(monkeypatch, registered):
    monkeypatch.delattr(torch._C, "_len_torch_dispatch_stack")
    monkeypatch.setattr(module, "_watched", module._watch())
    args, (a, _, _) = product_case((True, False, False))
    product(*args)[0].sum().backward()
    assert registered == ["product", "product_backward"] and torch.equal(a.grad, 3 * args[1])


def test_modes_see_operators(launches, registered):
    args, (a, _, _) = product_case((True, False, False))
    with launches() as seen:
        out = product(*args)[0]
        ranks(a.detach())
    assert seen.names.count("test_operator::product") == seen.names.count("test_operator::ranks") == 1
    with launches() as seen:
        out.sum().backward()
    assert seen.names.count("test_operator::product_backward") == 1

    class Names(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            registered.append(str(func))
            return func(*args, **(kwargs or {}))

    registered.clear()
    with Names():
        product(*args)
    assert registered == ["product", "test_operator.product.default"]


def test_flops_are_counted():
    with FlopCounterMode(display=False) as counter:
        product(*product_case((True, False, False))[0])
    assert counter.get_total_flops() == 3 * 3 * 4


def test_compilers_see_operators():
    args, (a, _, _) = product_case((True, True, False))
    graphs = []

    def backend(graph, inputs):
        graphs.append([node.target for node in graph.graph.nodes if node.op == "call_function"])
        return graph.forward

    compiled = torch.compile(lambda a: product(a, *args[1:])[0], backend=backend, fullgraph=True)
    assert torch.equal(compiled(a), product(*args)[0])
    assert torch.ops.test_operator.product.default in graphs[0] and len(graphs) == 1

    class Net(torch.nn.Module):
        def forward(self, a: Tensor) -> Tensor:
            return product(a, a, None, 3, torch.float64)[0] + mixes([a, a], [1.0], [a[0, 0]], None)[0]

    for strict in (True, False):
        exported = torch.export.export(Net(), (a.detach(),), strict=strict)
        targets = [node.target for node in exported.graph.nodes]
        assert torch.ops.test_operator.product.default in targets and torch.ops.test_operator.mixes.default in targets
    grads = [
        torch.autograd.grad(f(a), a, torch.ones_like(a)) for f in (Net(), torch.compile(Net(), backend="aot_eager"))
    ]
    assert torch.equal(grads[0][0], grads[1][0])


def test_tracer_sees_operators(registered):
    a = numbers(3, 4)
    torch.jit.trace(lambda a: ranks(a), (a,), check_trace=False)
    assert registered == ["ranks"]


class Subclass(Tensor):
    pass


def test_tensors_out_of_the_ordinary_take_the_registered_way(registered):
    a = numbers(3, 4)
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(a)
    for odd in (fake, a.to("meta"), a.as_subclass(Subclass), torch.complex(a, a).conj().imag):
        product(odd, odd, None, 2, torch.float64)
        mixes([odd], [], [odd], None)
    assert registered == ["product", "mixes"] * 4
    assert isinstance(product(fake, fake, None, 2, torch.float64)[0], FakeTensor)
    assert product(a.to("meta"), a.to("meta"), None, 2, torch.float64)[0].is_meta
    with pytest.raises(RuntimeError, match="product"):  # of what no schema has the registered way tells
        product(a, a, None, object(), torch.float64)


def test_arguments_by_name_and_by_default(registered):
    x = numbers(3, 4)
    assert torch.equal(ranks(x), ranks(x, 0) + 1) and registered == []
    assert torch.equal(ranks(x, start=2), ranks(x) + 1) and registered == ["ranks"]
    args, (a, _, _) = product_case((True, False, False))
    product(*args[:4], dtype=args[4])[0].sum().backward()
    assert torch.equal(a.grad, 3 * args[1])


def test_transforms_take_the_registered_way(registered):
    a, b = numbers(3, 4), numbers(3, 4)

    def outcome(transformed):
        try:
            return transformed(a)
        except (RuntimeError, NotImplementedError) as error:
            return type(error)

    for transform in (torch.func.vmap, torch.func.grad, torch.func.jacfwd):
        found = []
        for op in (product, torch.ops.test_operator.product):
            made = transform(lambda a, op=op: op(a, b, None, 2, torch.float64)[0].sum())
            found.append(outcome(made))
        assert isinstance(found[0], type(found[1])) and (found[0] is found[1] or torch.equal(*found))
    assert registered.count("product") == 3
    with forward_ad.dual_level():
        found = []
        for op in (product, torch.ops.test_operator.product):
            out = op(forward_ad.make_dual(a, b), b, None, 2, torch.float64)[0]
            found.append(forward_ad.unpack_dual(out).tangent)
    assert found[0] is None and found[1] is None
    assert registered.count("product") == 4


def test_selective_recomputation_keeps_what_is_kept(registered):
    args, (a, _, _) = product_case((True, False, False))
    runs = []
    for kept in ([], [torch.ops.test_operator.product.default]):
        contexts = partial(create_selective_checkpoint_contexts, kept)
        seen = []

        def run(a, seen=seen):
            out = product(a.sin(), *args[1:])[0]
            seen.append(out)
            return out.cos()

        out = checkpoint(run, a, use_reentrant=False, context_fn=contexts)
        runs.append((out, *torch.autograd.grad(out.sum(), a)))
        assert len(seen) == 2 and (seen[0].data_ptr() == seen[1].data_ptr()) == bool(kept)
    plain = product(a.sin(), *args[1:])[0].cos()
    (wanted,) = torch.autograd.grad(plain.sum(), a)
    for run in runs:
        assert all(map(torch.equal, run, (plain, wanted)))
    assert registered.count("product") == 4


def test_full_recomputation():
    args, (a, b, c) = product_case((True, True, True))
    out = checkpoint(lambda a: product(a.sin(), *args[1:])[0].cos(), a, use_reentrant=False)
    want = product(a.sin(), *args[1:])[0].cos()
    for got, wanted in zip(*(torch.autograd.grad(x.sum(), (a, b, c)) for x in (out, want)), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("op", [product, torch.ops.test_operator.product], ids=["direct", "registered"])
def test_second_derivative_without_a_formula_is_refused(op):
    args, (a, b, _) = product_case((True, True, False))
    (grad,) = torch.autograd.grad(op(*args)[0].sin().sum(), a, create_graph=True)
    assert grad.requires_grad
    with pytest.raises(RuntimeError, match="product_backward.* no autograd formula"):
        torch.autograd.grad(grad.sum(), b)


def test_second_derivative_of_a_formula_made_of_torch():
    args, leaves = mixes_case([True] * 5)
    assert torch.autograd.gradgradcheck(lambda *_: tuple(mixes(*args)), leaves)


def test_gradients_of_lists_are_lists():
    @operator("test_operator::short")
    def short(xs: list[Tensor]) -> Tensor:
        return sum(xs) + 1

    short.register_autograd(lambda ctx, grad: [grad], setup_context=lambda ctx, inputs, output: None)
    with pytest.raises(
        RuntimeError, match=re.escape("test_operator::short: got gradients in lists of (1,), wanted (2,)")
    ):
        short([numbers(3, grad=True), numbers(3)]).sum().backward()


def test_every_operator_of_the_package_is_made_so():
    package = Path(pointcept_bsa.__file__).parent
    homes = [path for path in package.rglob("*.py") if "torch.library.custom_op" in path.read_text(encoding="utf-8")]
    assert homes == [package / "ops" / "operator.py"]
