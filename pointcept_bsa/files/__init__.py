"""The one home of JSON, and of what ``torch.save`` writes. Files from strangers are data, never code."""

from pointcept_bsa.exports import lazy

_HOMES = {
    "NpyRows": "npy_file",
    "Progress": "progress",
    "json_text": "json_file",
    "parse_json": "json_file",
    "read_checkpoint": "checkpoint_file",
    "read_json": "json_file",
    "read_json_lines": "json_file",
    "save_npy": "npy_file",
    "write_csv": "atomic",
    "write_file": "atomic",
    "write_json": "json_file",
    "write_npy": "npy_file",
    "write_png": "atomic",
    "write_text": "atomic",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy(__name__, _HOMES)
