"""A place of their own for the processes of one start, in a store that torchrun keeps from start to start.

torchrun's agent hands the same store to the processes of every restart, where the addresses of those that are no more
still stand under the same names; who reads them before they are written anew waits for the dead. So each start agrees
on a name first, by a protocol that takes no old entry for one of its own:

every process writes a number drawn for this start; rank 0 calls a roll of the numbers that it finds, under a fresh
name; a process that finds its own number in the roll answers with that name; when all have answered it is theirs.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import json_text, parse_json

PAUSE = 0.02  # seconds between two looks


def join_torchrun(backend: str, rank: int, world_size: int, timeout: timedelta) -> None:
    """``init_process_group`` for a process that torchrun has started."""
    store: Any = next(dist.rendezvous("env://", rank, world_size, timeout=timeout))[0]
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        store = dist.PrefixStore(agree_on_name(store, rank, world_size, timeout), store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)


def agree_on_name(store: Any, rank: int, world_size: int, timeout: timedelta) -> str:
    """A name that this start's processes, and no others, have. Raises ``InputError`` if not all come in time."""
    until = time.monotonic() + timeout.total_seconds()
    number = uuid.uuid4().hex
    store.set(f"number/{rank}", number)
    if rank == 0:
        return _call_roll(store, world_size, until)
    found: list[str] = []

    def called() -> bool:
        roll = parse_json(_read(store, "roll") or "{}", "torchrun's store")
        if len(roll.get("numbers", ())) == world_size and roll["numbers"][rank] == number:
            found[:] = [roll["name"]]
            store.set(f"answer/{rank}", roll["name"])
        return bool(found) and store.check([f"all here/{found[0]}"])

    _wait(called, until, rank)
    return found[0]


def _call_roll(store: Any, world_size: int, until: float) -> str:
    numbers: list[str | None] = []
    name = ""

    def complete() -> bool:
        nonlocal name
        present = [_read(store, f"number/{rank}") for rank in range(world_size)]
        if None in present:
            return False
        if present != numbers:
            numbers[:], name = present, uuid.uuid4().hex
            store.set("roll", json_text({"name": name, "numbers": numbers}))
        return all(_read(store, f"answer/{rank}") == name for rank in range(1, world_size))

    _wait(complete, until, 0)
    store.set(f"all here/{name}", "yes")
    return name


def _read(store: Any, key: str) -> str | None:
    return store.get(key).decode() if store.check([key]) else None


def _wait(done: Callable[[], bool], until: float, rank: int) -> None:
    while not done():
        if time.monotonic() > until:
            raise InputError(f"torchrun: process {rank} waited in vain for the others to start")
        time.sleep(PAUSE)
