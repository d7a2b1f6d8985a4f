"""Operators on tensors: no parameters, no geometry. One folder an operator, with its reference in plain torch.

Where an operator has ``kernels.py`` (Triton) and ``triton_backend.py`` (their launches, as a custom operator of torch),
:mod:`pointcept_bsa.dispatch` says which implementation runs; :mod:`.launch` is what launches share, :mod:`.operator`
makes the operators.

Axes: ``S`` slots in tree order, ``H`` heads, ``D`` channels a head, ``m`` slots a ball, ``l`` slots a block,
``L`` blocks, ``G`` query groups of ``g`` slots. Clouds lie behind each other; their sizes are given as tuples on the
host, so that no operator ever waits for the device. Empty slots are False in ``valid``: no key, and output zero.
"""
