"""Search for the settings with which a config is at its best, on validation alone (``tools/tune.py``)."""
