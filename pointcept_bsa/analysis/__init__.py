"""Finished runs: compared, reported, drawn, searched for the best, used for predictions; and benchmarks."""

from pointcept_bsa.exports import lazy

_HOMES = {
    "Network": "prediction.network",
    "at_density": "comparison.cloud_density",
    "compare": "comparison.comparison",
    "draw_scaling": "visualization.scaling",
    "find_learning_rate": "tune.lr_range",
    "markdown": "comparison.tables",
    "open_network": "prediction.network",
    "predict_arrays": "prediction.arrays",
    "predict_files": "prediction.run",
    "run_baselines": "baselines",
    "summarize_seeds": "comparison.tables",
    "visualize": "visualization.run",
    "write_report": "report.write",
    "write_tables": "comparison.tables",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy(__name__, _HOMES)
