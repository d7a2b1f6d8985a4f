"""Custom operators of torch that cost the host little where nothing is looking on.

``torch.library.custom_op`` sends each call through torch's dispatcher and back into Python, several times over. Modes,
transforms, tensor subclasses and compilers hook in there. Where there is none of them an operator of this file calls
its function at once, under an autograd function made of the same formula: the direct way. Everything else takes the
registered way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

Function = Callable[..., Any]
Structure = tuple[int | None, ...]  # of each value how many tensors it is a list of, or None where it is no list

SCALARS = frozenset((int, float, bool, str, type(None), torch.dtype, torch.device))


def _watch() -> Callable[[], bool]:
    """What says whether modes, transforms, a tracer or forward gradients are on, and operators are to be seen.

    torch has only private names for most of that. Where it lacks one the answer is always yes: every call takes the
    registered way, which is slower and right.
    """
    try:
        dispatch_modes = torch._C._len_torch_dispatch_stack
        function_modes = torch._C._len_torch_function_stack
        transforms = torch._C._functorch.peek_interpreter_stack
        tracer = torch._C._get_tracing_state
        forward_ad._current_level  # noqa: B018
    except AttributeError:
        return lambda: True

    def watched() -> bool:
        return (
            dispatch_modes() > 0
            or function_modes() > 0
            or transforms() is not None
            or tracer() is not None
            or forward_ad._current_level >= 0
        )

    return watched


_watched = _watch()


class Operator:
    """A custom operator of torch; see :func:`operator`."""

    def __init__(self, name: str, function: Function) -> None:
        self.__doc__ = function.__doc__
        self.name = name
        self.function = function
        self.registered = torch.library.custom_op(name, mutates_args=())(function)
        self.register_fake = self.registered.register_fake
        hints = get_type_hints(function)
        output = hints.pop("return")
        self.lists = tuple(hint == list[Tensor] for hint in hints.values())
        self.with_lists = any(self.lists) or list[Tensor] in (output, *get_args(output))
        self.apply: Function | None = None  # under autograd

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or kwargs or _watched():
            return self.registered(*args, **kwargs)
        wanted = _gradient_wanted(args)
        if wanted is None:
            return self.registered(*args)
        if not wanted or not torch.is_grad_enabled():
            return self.function(*args)
        if self.apply is None or len(args) != len(self.lists):
            return self.registered(*args)
        return self.apply(*args)

    def register_autograd(self, backward: Function, /, *, setup_context: Function) -> None:
        """As ``torch.library.CustomOpDef.register_autograd``."""
        self.registered.register_autograd(backward, setup_context=setup_context)
        make = _listed if self.with_lists else _plain
        self.apply = make(self, backward, setup_context)


def operator(name: str) -> Callable[[Function], Operator]:
    """Decorator: make a function of tensors, numbers and lists of them the custom operator ``name`` of torch.

    The operator is registered as ``torch.library.custom_op(name, mutates_args=())`` does, and has the same
    ``register_fake`` and ``register_autograd``. Called directly it takes the direct way of this file where

    - nothing is compiled, exported or traced, and no mode, no transform of ``torch.func`` and no forward gradient is on
    - arguments are given by position; tensors are plain ones or parameters, with numbers in memory
    - no gradient is wanted, or a formula for it is registered and all arguments are given.

    Then the types of arguments are not checked, nor that the results share no memory with them.
    """
    return lambda function: Operator(name, function)


def _gradient_wanted(args: Sequence[Any]) -> bool | None:
    """Whether a tensor among the arguments requires a gradient; None where one is not what the direct way takes."""
    wanted = False
    for arg in args:
        kind = type(arg)
        if kind is Tensor or kind is Parameter:
            # The memory of a tensor that is_neg holds the negatives of its numbers, which a kernel must not read.
            if arg.is_meta or arg.is_neg():
                return None
            if arg.requires_grad:
                wanted = True
        elif kind is list:
            inside = _gradient_wanted(arg)
            if inside is None:
                return None
            wanted |= inside
        elif kind not in SCALARS:
            return None
    return wanted


def _autograd_function(name: str, forward: Function, backward: Function) -> Function:
    parts = dict(forward=staticmethod(forward), backward=staticmethod(backward))
    made: Any = type(name.replace("::", "_"), (torch.autograd.Function,), parts)
    # Function's own apply looks for transforms, of which there are none here, and calls that of its base.
    apply: Function = super(torch.autograd.Function, made).apply
    return apply


def _plain(operator: Operator, backward: Function, setup_context: Function) -> Function:
    """The operator under autograd: tensors are arguments and results themselves."""
    function = operator.function

    def forward(ctx: Any, *args: Any) -> Any:
        output = function(*args)
        setup_context(ctx=ctx, inputs=args, output=output)
        return output

    return _autograd_function(operator.name, forward, backward)


def _listed(operator: Operator, backward: Function, setup_context: Function) -> Function:
    """The operator under autograd, which sees no tensors in lists: here these lists are laid open on its side, and put
    together again on the operator's."""
    function, lists = operator.function, operator.lists

    def forward(ctx: Any, given: Structure, seen: dict[str, Any], *flat: Any) -> tuple[Any, ...]:
        args = _nested(flat, given)
        output = function(*args)
        setup_context(ctx=ctx, inputs=args, output=output)
        outputs = _as_tuple(output)
        seen["alone"], seen["returned"] = output is not outputs, _structure(outputs)
        ctx.structures = given, seen["returned"]
        return tuple(_flat(outputs, seen["returned"]))

    def gradient(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        given, returned = ctx.structures
        needs = ctx.needs_input_grad
        ctx.needs_input_grad = _nested(needs[2:], given)
        try:
            found = backward(ctx, *_nested(grads, returned))
        finally:
            ctx.needs_input_grad = needs
        found = _as_tuple(found)
        if _structure(found) != given:
            raise RuntimeError(f"{operator.name}: got gradients in lists of {_structure(found)}, wanted {given}")
        return None, None, *_flat(found, given)

    apply = _autograd_function(operator.name, forward, gradient)

    def call(*args: Any) -> Any:
        given = tuple([len(arg) if is_list else None for arg, is_list in zip(args, lists, strict=True)])
        seen: dict[str, Any] = {}
        outputs = _nested(apply(given, seen, *_flat(args, given)), seen["returned"])
        return outputs[0] if seen["alone"] else outputs

    return call


def _as_tuple(values: Any) -> tuple[Any, ...]:
    return values if isinstance(values, tuple) else (values,)


def _structure(values: Sequence[Any]) -> Structure:
    """Of results or gradients, of which only lists of tensors are lists."""
    return tuple([len(value) if isinstance(value, list) else None for value in values])


def _flat(values: Sequence[Any], structure: Structure) -> Iterator[Any]:
    for value, count in zip(values, structure, strict=True):
        if count is None:
            yield value
        else:
            yield from value


def _nested(flat: Sequence[Any], structure: Structure) -> tuple[Any, ...]:
    values, place = [], 0
    for count in structure:
        if count is None:
            values.append(flat[place])
            place += 1
        else:
            values.append(list(flat[place : place + count]))
            place += count
    return tuple(values)
