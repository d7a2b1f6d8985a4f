"""Losses, one class a loss. Importing this package registers them."""

from pointcept_bsa.losses.regression import GaussianNLLLoss, L1Loss, MSELoss, RelativeL2Loss, WeightedMSELoss
from pointcept_bsa.losses.segmentation import CrossEntropyLoss, LovaszLoss

__all__ = [
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "L1Loss",
    "LovaszLoss",
    "MSELoss",
    "RelativeL2Loss",
    "WeightedMSELoss",
]
