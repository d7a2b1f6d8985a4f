"""A small trained run, and the tools called in this process."""

from ..small_runs import ROOT, SMALL, benchmark_settings, benchmark_tool, load_tool, small_run, tool  # noqa: F401
