"""Numbers in a command line that are one for all, or one for each name."""

from __future__ import annotations

import argparse


def number_or_numbers(text: str) -> int | dict[str, int]:
    """2048, or surface=1024,volume=2048 as a dict. What argparse calls; raises its ArgumentTypeError."""
    try:
        if "=" not in text:
            return int(text)
        pairs = [word.split("=") for word in text.split(",")]
        found = {name.strip(): int(value) for name, value in pairs}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted N or NAME=N,NAME=N") from error
    if len(found) < len(pairs):
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted each name once")
    return found
