"""Models: a backbone with a head, target units and losses. Importing this package registers them."""

from pointcept_bsa.models.gaussian import GaussianHead, GaussianRegressor
from pointcept_bsa.models.heads import RegressionHead
from pointcept_bsa.models.joint import DomainHeads, JointRegressor
from pointcept_bsa.models.normalizer import TargetNormalizer
from pointcept_bsa.models.regressor import DefaultRegressor
from pointcept_bsa.models.scalars import ScalarHead
from pointcept_bsa.models.segmentor import DefaultSegmentorV2

__all__ = [
    "DefaultRegressor",
    "DefaultSegmentorV2",
    "DomainHeads",
    "GaussianHead",
    "GaussianRegressor",
    "JointRegressor",
    "RegressionHead",
    "ScalarHead",
    "TargetNormalizer",
]
