"""Finished runs: compared, reported, drawn, searched for the best, used for predictions; and benchmarks."""
