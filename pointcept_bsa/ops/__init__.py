"""Operators on tensors: no parameters, no geometry. One folder an operator, with its reference in plain torch.

Axes: ``S`` slots in tree order, ``H`` heads, ``D`` channels a head, ``m`` slots a ball, ``l`` slots a block,
``L`` blocks, ``G`` query groups of ``g`` slots. Clouds lie behind each other; their sizes are given as tuples on the
host, so that no operator ever waits for the device. Empty slots are False in ``valid``: no key, and output zero.
"""
