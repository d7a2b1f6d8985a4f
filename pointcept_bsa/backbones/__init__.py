"""Whole networks, one a file. Importing this package registers them."""

from pointcept_bsa.backbones.abupt import AnchoredBranchedUPT
from pointcept_bsa.backbones.abupt_joint import JointAnchoredBranchedUPT
from pointcept_bsa.backbones.bsa import BSATransformer
from pointcept_bsa.backbones.erwin import ErwinTransformer
from pointcept_bsa.backbones.erwin_nsa import ErwinNSATransformer
from pointcept_bsa.backbones.flare import FLARE
from pointcept_bsa.backbones.full_attention import FullAttentionTransformer
from pointcept_bsa.backbones.lrsa import LRSA
from pointcept_bsa.backbones.mspt import MultiScalePatchTransformer
from pointcept_bsa.backbones.point_transformer_v3 import PointTransformerV3
from pointcept_bsa.backbones.pointnet import PointNet
from pointcept_bsa.backbones.transolver import Transolver
from pointcept_bsa.backbones.upt import UniversalPhysicsTransformer

__all__ = [
    "AnchoredBranchedUPT",
    "BSATransformer",
    "ErwinNSATransformer",
    "ErwinTransformer",
    "FLARE",
    "FullAttentionTransformer",
    "JointAnchoredBranchedUPT",
    "LRSA",
    "MultiScalePatchTransformer",
    "PointNet",
    "PointTransformerV3",
    "Transolver",
    "UniversalPhysicsTransformer",
]
