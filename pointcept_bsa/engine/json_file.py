"""The reader and writer of JSON under their former name, for scripts of users; they live in ``pointcept_bsa.files``."""

from pointcept_bsa.files.json_file import read_json, write_json

__all__ = ["read_json", "write_json"]
