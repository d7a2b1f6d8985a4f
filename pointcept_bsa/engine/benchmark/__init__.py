"""Speed, memory and operations of the networks of any configs, in one run and one table: ``tools/benchmark.py``.

``arguments`` the command line, ``entries`` what is compared, ``inputs`` synthetic clouds, ``timing`` repeated timed
calls, ``case`` one network at one size, ``run`` all cases, ``report`` table, CSV and JSON, ``plot`` time over N.
"""
