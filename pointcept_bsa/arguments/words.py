"""Words that a command line offers and the code behind it knows."""

from __future__ import annotations

FORMATS = ("vtp", "vtu", "vtk", "ply", "npz", "csv")  # of predictions: of .stl and .npy only the places would be left
PICTURE_FORMATS = ("png", "vtp")
PRUNERS = ("median", "halving", "none")
UNITS = {"physical": "metrics", "normalized": "metrics_normalized"}  # and where a report has them
DENSITIES = {"tested": None, "whole": "whole", "training": "at_training_density"}  # and where a report has them
DTYPES = ("fp32", "bf16", "tf32")
MODES = ("eager", "graph", "compile")
WHAT = {
    "tree": "levels of the ball tree",
    "rotated": "balls of the main and the rotated tree",
    "attention": "attention of each branch: of one point on the cloud, of all to all in tree order",
    "receptive": "receptive field of one point: ball; + selection; + compression (BSA figure 2)",
    "levels": "levels of the tokens that one point sees, and how many of the best blocks the descent finds, by layer",
    "influence": "gradient of one output with respect to every input, models side by side (Erwin-NSA figure 3)",
    "gates": "gates of the branches over the layers",
    "scaling": "runtime over the number of points, from results of tools/benchmark.py",
}
