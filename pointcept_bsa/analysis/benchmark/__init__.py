"""Speed, memory and operations of the networks of any configs, in one run and one table: ``tools/benchmark.py``.

``arguments`` the command line, ``settings`` its values, ``entries`` what is compared, ``inputs`` synthetic clouds,
``timing`` repeated timed calls, ``variants`` modes, operators and attention backends, ``case`` one network at one size
in one mode, ``depth`` a deep one from two shallow ones, ``published_erwin`` the authors' Erwin, ``run`` all cases,
``report`` table, CSV and JSON, ``summary`` each config at its best, ``plot`` time over N, ``trees`` ball trees,
``losses`` kernels against plain torch in training, ``losses_plot`` their curves, ``profile`` time by kernel.
"""
