"""Small versions of the networks, and clouds to run them on."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.host import MODELS

SMALL = dict(in_channels=3, channels=16, depth=3, num_heads=2)
TREE = dict(ball_size=32, block_size=4, group_size=4, topk=2)
ERWIN = dict(
    type="Erwin-v1m1",
    in_channels=3,
    channels=[16, 16],
    ball_sizes=[32, 32],
    enc_num_heads=[2, 2],
    enc_depths=[2, 2],
    dec_num_heads=[2],
    dec_depths=[2],
    num_neighbors=5,
)
ERWIN_UNET = ERWIN | dict(
    channels=[8, 16, 16],
    ball_sizes=[32, 16, 16],
    enc_num_heads=[2, 4, 4],
    enc_depths=[2, 1, 2],
    dec_num_heads=[2, 2],
    dec_depths=[2, 2],
    strides=[2, 4],
)
ERWIN_NSA = dict(
    type="ErwinNSA-v1m1",
    in_channels=3,
    channels=16,
    depth=3,
    num_heads=4,
    local_ball_size=32,
    compressed_ball_size=8,
    num_selected=3,
    num_neighbors=5,
)
PTV3 = dict(
    type="PT-v3m1",
    in_channels=3,
    stride=(2, 2),
    enc_depths=(2, 1, 1),
    enc_channels=(16, 16, 24),
    enc_num_head=(2, 2, 3),
    enc_patch_size=(32, 16, 16),
    dec_depths=(2, 1),
    dec_channels=(16, 16),
    dec_num_head=(2, 2),
    dec_patch_size=(32, 16),
    shuffle_orders=False,
)
LATENT = dict(
    in_channels=3,
    out_channels=16,
    channels=24,
    num_heads=2,
    num_supernodes=30,
    depth=2,
    radius=0.8,
    num_neighbors=6,
    position_scale=10.0,
)
UPT = dict(type="UPT-v1m1", **LATENT, num_latents=8, encoder_depth=1)
ABUPT = dict(type="ABUPT-v1m1", **LATENT, num_anchors=40)
POINTNET = dict(
    type="PointNet-v1m1", in_channels=3, point_channels=(16, 16), cloud_channels=(16, 32), channels=(24, 16)
)
TRANSOLVER = dict(type="Transolver-v1m1", **SMALL, num_slices=6)
FLARE = dict(type="FLARE-v1m1", **SMALL, num_latents=6, mlp_depth=1)
LRSA = dict(type="LRSA-v1m1", **SMALL, num_latents=6)
NETWORKS = {
    "full": dict(type="FullAttention-v1m1", **SMALL),
    "bsa": dict(type="BSA-v1m1", **SMALL, **TREE),
    "bsa mean": dict(type="BSA-v1m1", **SMALL, **TREE, phi="mean"),
    "bsa no group selection": dict(type="BSA-v1m1", **SMALL, **TREE | dict(group_size=1)),
    "bsa group compression": dict(type="BSA-v1m1", **SMALL, **TREE, group_compression=True, query_pooling="mlp"),
    "bsa all blocks": dict(type="BSA-v1m1", **SMALL, **TREE, mask_own_ball=False, distance_bias=False),
    "bsa one tree": dict(type="BSA-v1m1", **SMALL, **TREE, rotate=0, skip_every=2),
    "bsa hierarchical": dict(type="BSA-v1m1", **SMALL, **TREE, near=32, fan=2, beam=2),
    "bsa messages": dict(type="BSA-v1m1", **SMALL, **TREE, mp_steps=2, num_neighbors=5),
    "erwin": ERWIN,
    "erwin unet": ERWIN_UNET,
    "erwin unet copies": ERWIN_UNET | dict(pad="power_of_two"),
    "erwin radius": ERWIN_UNET | dict(edges="radius", radius=0.7, distance_bias=False, rotate=0),
    "erwin nsa": ERWIN_NSA,
    "erwin nsa grouped": ERWIN_NSA | dict(num_kv_heads=2, phi="mlp", mask_own_ball=True, mp_steps=0),
    "upt": UPT,
    "upt nearest, positions alone": UPT | dict(edges="knn", query_features=False, encoder_depth=0),
    "abupt": ABUPT,
    "abupt nearest": ABUPT | dict(edges="knn", geometry_depth=0),
    "mspt": dict(type="MSPT-v1m1", **SMALL, ball_size=32, block_size=8),
    "mspt one supernode a ball": dict(type="MSPT-v1m1", **SMALL, ball_size=16, block_size=16),
    "pointnet": POINTNET,
    "transolver": TRANSOLVER,
    "transolver narrow end": TRANSOLVER | dict(out_channels=5, recompute=True),
    "flare": FLARE,
    "flare normed": FLARE | dict(qk_norm=True),
    "lrsa": LRSA,
    "ptv3": PTV3,
    "ptv3 hilbert": PTV3  # the curve of a cloud depends on the number of bits
    | dict(order=("z", "hilbert", "z-trans", "hilbert-trans"), enc_depths=(4, 1, 1), serialization_depth=12),
}


def sample(lengths, dims=3, seed=0, dtype=torch.float32):
    """A ragged batch whose features are not its coordinates."""
    generator = torch.Generator().manual_seed(seed)
    coord = torch.randn(sum(lengths), dims, generator=generator, dtype=dtype)
    feat = torch.randn(sum(lengths), 3, generator=generator, dtype=dtype)
    grid_coord = torch.cat([distinct_cells(cloud) for cloud in coord.split(lengths)])
    return dict(coord=coord, feat=feat, grid_coord=grid_coord, offset=torch.tensor(lengths).cumsum(0))


def distinct_cells(coord):
    """Cells (N, d) of the coarsest grid, of sizes 1/4, 1/8, ..., in which no two points share one."""
    size = 0.25
    while True:
        cells = ((coord - coord.amin(0)) / size).long()
        if len(cells.unique(dim=0)) == len(cells):
            return cells
        size /= 2


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    model = MODELS.build(dict(NETWORKS[request.param])).eval()
    # Weights large enough that attention is far from uniform and gates far from one half, activations of order 10:
    # the batch norms of PT-v3m1, in evaluation with fresh statistics, do not hold them down as RMSNorm does.
    model.enlarged = 2 if request.param.startswith("ptv3") else 8
    scale_weights(model, model.enlarged)
    return model


@torch.no_grad()
def scale_weights(model, factor):
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(factor)
