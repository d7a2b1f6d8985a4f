"""Parameters: attention layers, transformer blocks, embeddings. Used by the backbones.

A part for other networks: a layer takes features in tree order and the layout of the tree::

    from pointcept_bsa.geometry import BallTree
    from pointcept_bsa.layers import BallSparseAttention

    attention = BallSparseAttention(dim=64, num_heads=8, ball_size=256, block_size=8)
    tree = BallTree.build(coord, lengths, ball_size=256, block_size=8)
    feat = feat + tree.scatter(attention(tree.gather(feat), tree.layout))  # (N, 64), in the order of coord
"""

from pointcept_bsa.layers.attention import BallAttention, FullAttention
from pointcept_bsa.layers.ball_pooling import BallPooling, BallUnpooling
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.cloud_norm import CloudNorm
from pointcept_bsa.layers.message_passing import MessagePassing
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention
from pointcept_bsa.layers.norm import RMSNorm
from pointcept_bsa.layers.point_embedding import PointEmbedding
from pointcept_bsa.layers.transformer import BallTreeStack, SwiGLU, TransformerBlock

__all__ = [
    "BallAttention",
    "BallPooling",
    "BallSparseAttention",
    "BallTreeStack",
    "BallUnpooling",
    "CloudNorm",
    "FullAttention",
    "MessagePassing",
    "NativeSparseAttention",
    "PointEmbedding",
    "RMSNorm",
    "SwiGLU",
    "TransformerBlock",
]
