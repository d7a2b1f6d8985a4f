"""``tools/report.py``: finished runs as one HTML page that needs nothing else."""
