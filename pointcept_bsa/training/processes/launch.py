"""Processes: one, several on this machine (``--num-gpus``), or those that torchrun started.

torchrun's agent hands the same store to the processes of every restart, where the addresses of those that are no more
still stand under the same names; who reads them before they are written anew waits for the dead. So each start agrees
on a name for a place of its own first, by a protocol that takes no old entry for one of its own:

every process writes a number drawn for this start; rank 0 calls a roll of the numbers that it finds, under a fresh
name; a process that finds its own number in the roll answers with that name; when all have answered it is theirs.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pointcept_bsa.distributed import mesh
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import json_text, parse_json
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.training.processes.interruption import forwarding

TIMEOUT = timedelta(minutes=60)
GRACE = 30.0  # seconds


def launch(
    main_func: Callable[..., int],
    num_gpus_per_machine: int = 1,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    device: str = "auto",
    args: tuple[Any, ...] = (),
) -> int:
    """Run ``main_func(*args)`` in every process and return the exit code: that of the first process that fails.

    Under torchrun (``RANK`` and ``WORLD_SIZE`` set) this process is one of those already started. With ``device="cpu"``
    the processes talk through gloo, else through nccl, one GPU a process.
    """
    if _by_torchrun():
        local_rank, rank, world_size = (int(os.environ.get(name, 0)) for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"))
        return _worker(local_rank, main_func, world_size=world_size, rank=rank, url="env://", device=device, args=args)
    if num_gpus_per_machine < 1 or num_machines < 1 or not 0 <= machine_rank < num_machines:
        raise InputError(
            f"--num-gpus {num_gpus_per_machine} --num-machines {num_machines} --machine-rank {machine_rank}: "
            f"expected positive numbers and a rank below --num-machines"
        )
    world_size = num_gpus_per_machine * num_machines
    if world_size == 1:
        return main_func(*args)
    _check_devices(device, num_gpus_per_machine)
    if dist_url == "auto":
        if num_machines > 1:
            raise InputError("--dist-url auto: with several machines name the first one's address, tcp://HOST:PORT")
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    first_rank = machine_rank * num_gpus_per_machine
    arguments = (main_func, world_size, first_rank, dist_url, device, args)
    context = mp.spawn(_spawned, arguments, nprocs=num_gpus_per_machine, join=False)
    with forwarding(lambda number: _send(context.processes, number)):
        return _wait(context)


def sharing_clouds(work: Callable[[], int], device: str = "auto") -> int:
    """``work()``; where torchrun has started this process with others they share their clouds, a part each."""
    if not _by_torchrun():
        return work()

    def shared() -> int:
        mesh.create(comm.get_world_size(), "cuda" if _uses_cuda(device) else "cpu")
        return work()

    return launch(shared, device=device)


def _by_torchrun() -> bool:
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def _uses_cuda(device: str) -> bool:
    return device != "cpu" and torch.cuda.is_available()


def _send(processes: list[Any], number: int) -> None:
    for process in processes:
        if process.is_alive():
            os.kill(process.pid, number)


def _wait(context: Any) -> int:
    """Wait for all processes; when one fails the others get ``GRACE`` seconds, as they may wait for it forever."""
    running = {process.sentinel: process for process in context.processes}
    while running and not any(process.exitcode for process in context.processes):
        for sentinel in multiprocessing.connection.wait(list(running)):
            running.pop(sentinel).join()
    until = time.monotonic() + GRACE
    for process in running.values():
        process.join(max(until - time.monotonic(), 0))
        if process.is_alive():
            process.kill()
            process.join()
    try:
        context.join()
    except mp.ProcessExitedException as error:
        return error.exit_code if error.exit_code > 0 else 128 - error.exit_code  # killed by a signal
    return 0


def _spawned(
    local_rank: int, main_func: Callable, world_size: int, first_rank: int, url: str, device: str, args: tuple
) -> None:
    code = _worker(
        local_rank, main_func, world_size=world_size, rank=first_rank + local_rank, url=url, device=device, args=args
    )
    if code:
        sys.exit(code)


def _worker(
    local_rank: int, main_func: Callable[..., int], world_size: int, rank: int, url: str, device: str, args: tuple
) -> int:
    use_cuda = _uses_cuda(device)
    comm.set_local_rank(local_rank)
    if use_cuda:
        torch.cuda.set_device(local_rank)
    backend = "nccl" if use_cuda else "gloo"
    if url == "env://":
        join_torchrun(backend, rank, world_size, TIMEOUT)
    else:
        dist.init_process_group(backend, init_method=url, world_size=world_size, rank=rank, timeout=TIMEOUT)
    code = main_func(*args)
    if code == 0:  # else other processes may be waiting in a collective, and so would we
        dist.destroy_process_group()
    return code


def _check_devices(device: str, wanted: int) -> None:
    if device != "cpu" and wanted > torch.cuda.device_count():
        raise InputError(
            f"--num-gpus {wanted}: this machine has {torch.cuda.device_count()} CUDA devices (device='cpu' allows it)"
        )


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


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

    _wait_until(called, until, rank)
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

    _wait_until(complete, until, 0)
    store.set(f"all here/{name}", "yes")
    return name


def _read(store: Any, key: str) -> str | None:
    return store.get(key).decode() if store.check([key]) else None


def _wait_until(done: Callable[[], bool], until: float, rank: int) -> None:
    while not done():
        if time.monotonic() > until:
            raise InputError(f"torchrun: process {rank} waited in vain for the others to start")
        time.sleep(PAUSE)
