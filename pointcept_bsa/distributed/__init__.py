"""One cloud over several processes: who shares which cloud."""

from pointcept_bsa.exports import lazy

_HOMES = {
    "context_group": "mesh",
    "context_rank": "mesh",
    "context_size": "mesh",
    "cut": "parts",
    "joined": "parts",
    "part_of": "parts",
    "sum_over_parts": "parts",
    "whole_batch": "parts",
    "whole_clouds": "mesh",
    "whole_lengths": "parts",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy(__name__, _HOMES)
