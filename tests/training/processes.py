"""Several processes that train together, started quickly: from one server that has imported everything.

And one alone that takes itself for one of several.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkServerContext

import torch
import torch.distributed as dist
from patience import exit_codes
from torch.testing._internal.distributed.fake_pg import FakeStore

from pointcept_bsa.distributed import mesh
from pointcept_bsa.training.cli import train_main


@contextlib.contextmanager
def one_of(size: int, rank: int = 0, context_parallel: int = 1) -> Iterator[None]:
    """Within, torch has this process for one of ``size``; nothing can be sent to the others."""
    dist.init_process_group("fake", rank=rank, world_size=size, store=FakeStore())
    try:
        mesh.create(context_parallel, "cpu")
        yield
        mesh.create(1, "cpu")
    finally:
        dist.destroy_process_group()


def server() -> ForkServerContext:
    """The context whose processes begin with the package imported."""
    context = multiprocessing.get_context("forkserver")
    slow = ["torch._dynamo", "torch.utils.tensorboard", "torch.distributed.fsdp", "torch.distributed.tensor"]
    slow += ["torch.distributed.checkpoint.state_dict", "torch.distributed.tensor.parallel"]
    context.set_forkserver_preload(["pointcept_bsa.catalogue", "pointcept_bsa.training.cli", *slow])
    return context


def train_in(count: int, config: str, *options: str, resume: bool = False) -> tuple[list[int], str]:
    """Train with ``count`` processes that talk through gloo: their exit codes, and all that they said."""
    return run_in(count, train_main, ["--config", config, "--options", *options, f"resume={resume}"])


def run_in(count: int, main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> tuple[list[int], str]:
    """Run a command line of a tool in ``count`` processes in the same way."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = str(sock.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        said = os.path.join(folder, "said")
        running = []
        for rank in range(count):
            environment = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            process = server().Process(target=run_here, args=(environment, main, arguments, f"{said}{rank}"))
            process.start()
            running.append(process)
        codes = exit_codes(running)
        texts = []
        for rank in range(count):
            with open(f"{said}{rank}") as file:
                texts.append(file.read())
    return codes, "".join(texts)


def run_here(environment: dict[str, str], main: Callable[..., int], arguments: Sequence[str], said: str) -> None:
    """What one process does."""
    os.environ.update(environment)
    file = os.open(said, os.O_WRONLY | os.O_CREAT)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    torch.set_num_threads(1)
    code = main(arguments)
    sys.stdout.flush()
    sys.exit(code)
