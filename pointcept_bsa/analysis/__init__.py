"""Finished runs: compared, reported, drawn, searched for the best, used for predictions; and benchmarks."""

from pointcept_bsa.exports import lazy

_HOMES = {
    "Network": "prediction.network",
    "at_density": "comparison.group",
    "compare": "comparison.comparison",
    "draw_scaling": "visualization.run",
    "find_learning_rate": "tune.run",
    "markdown": "comparison.tables",
    "open_network": "prediction.network",
    "predict_arrays": "prediction.outputs",
    "predict_files": "prediction.run",
    "run_baselines": "baselines",
    "summarize_seeds": "comparison.tables",
    "visualize": "visualization.run",
    "write_report": "report.page",
    "write_tables": "comparison.tables",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy(__name__, _HOMES)
