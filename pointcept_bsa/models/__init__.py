"""Models: a backbone with a head, target units and losses. Importing this package registers them."""

from . import gaussian, heads, joint, normalizer, regressor, scalars, segmentor  # noqa: F401
