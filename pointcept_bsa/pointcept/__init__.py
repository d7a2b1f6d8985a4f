"""``python -m pointcept_bsa.pointcept``: Pointcept's own tools, started with the plugin ready.

``__main__`` checks the arguments; ``inside`` is the program that runs in Pointcept's place, with ``stand_ins`` for
missing packages and ``on_cpu`` for machines without a GPU.
"""
