"""What the plain layers compute, in fewer and larger steps, with the same parameters: for the GPU.

The plain layers stand in the room above, an equation a line. Here a residual stream leaves its last sum to the kernel
that comes next, projections of the same input are one matrix product, gradients of biases are summed by the kernels
that have them in hand, and in a captured graph branches run side by side. One switch, :func:`.switch.fused`, chooses;
each function here is compared with the layer it is for by ``tests/layers/test_fused.py``.
"""
