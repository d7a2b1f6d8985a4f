"""Pointcept: the binding to its names, and the command that starts its own tools with the plugin ready.

``python -m pointcept_bsa.host.pointcept``: ``__main__`` checks the arguments; ``inside`` is the program that runs in
Pointcept's place, with ``stand_ins`` for missing packages and ``on_cpu`` for machines without a GPU. :mod:`.binding` is
what the door opens to inside Pointcept.
"""
