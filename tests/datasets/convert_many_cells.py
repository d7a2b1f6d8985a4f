"""Time and memory of converting one volume of many cells; run by hand: python tests/datasets/convert_many_cells.py.

Writes a DrivAerML volume of hexahedra to a temporary folder, appended raw bytes packed by zlib or inline base64,
converts it and prints what that took. Anonymous memory is what the process itself holds; the peak of all its pages
counts those of mapped files, too, which the kernel takes back where it needs them.
"""

from __future__ import annotations

import argparse
import base64
import resource
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from pointcept_bsa.datasets.car_sets.drivaerml import DRIVAERML
from pointcept_bsa.datasets.prepare.car_sets.convert import convert

BLOCK = 1 << 15  # of zlib, as VTK has it
Chunks = Callable[[], Iterator[np.ndarray]]


def grid_arrays(side: int) -> list[tuple[str, str, str, int, int, Chunks]]:
    """Section, name, VTK's type, columns, bytes and content of a cube of hexahedra, layer by layer."""
    rng, corners = np.random.default_rng(0), side + 1
    points, cells = corners**3, side**3
    y, x = np.meshgrid(np.arange(corners, dtype="f4"), np.arange(corners, dtype="f4"), indexing="ij")
    first = (np.arange(side)[None] + np.arange(side)[:, None] * corners).reshape(-1, 1)
    square = np.array([0, 1, corners + 1, corners])
    hexahedron = np.concatenate([square, square + corners**2])

    def layers(make: Callable[[int], np.ndarray], count: int) -> Chunks:
        return lambda: (make(k) for k in range(count))

    def plane(k: int) -> np.ndarray:
        return np.stack([x.ravel(), y.ravel(), np.full(x.size, k, "f4")], axis=1)

    def connectivity(k: int) -> np.ndarray:
        return (first + hexahedron + k * corners**2).astype("i4")

    def ends(k: int) -> np.ndarray:
        return (8 * np.arange(k * side**2 + 1, (k + 1) * side**2 + 1)).astype("i4")

    def noise(columns: int) -> Callable[[int], np.ndarray]:
        return lambda k: rng.normal(size=(side**2, columns)).astype("f4")

    return [
        ("Points", "Points", "Float32", 3, 12 * points, layers(plane, corners)),
        ("Cells", "connectivity", "Int32", 1, 32 * cells, layers(connectivity, side)),
        ("Cells", "offsets", "Int32", 1, 4 * cells, layers(ends, side)),
        ("Cells", "types", "UInt8", 1, cells, layers(lambda k: np.full(side**2, 12, "u1"), side)),
        ("CellData", "UMeanTrim", "Float32", 3, 12 * cells, layers(noise(3), side)),
        ("CellData", "pMeanTrim", "Float32", 1, 4 * cells, layers(noise(1), side)),
    ]


def write_volume(path: Path, side: int, packed: bool) -> None:
    """Write the grid; the offsets of packed arrays are filled in when they are known."""
    arrays = grid_arrays(side)
    compressor = ' compressor="vtkZLibDataCompressor"' if packed else ""
    with path.open("wb") as file:
        file.write(b'<VTKFile type="UnstructuredGrid" version="1.0" byte_order="LittleEndian" header_type="UInt64"')
        file.write(f'{compressor}><UnstructuredGrid><Piece NumberOfPoints="{(side + 1) ** 3}" '.encode())
        file.write(f'NumberOfCells="{side**3}">\n'.encode())
        places = []
        for section, name, kind, columns, size, chunks in arrays:
            form = 'format="appended" offset="' if packed else 'format="binary">'
            opened = "" if name in ("offsets", "types", "pMeanTrim") else f"<{section}>"
            closed = "" if name in ("connectivity", "offsets", "UMeanTrim") else f"</{section}>"
            file.write(f'{opened}<DataArray type="{kind}" Name="{name}" NumberOfComponents="{columns}" {form}'.encode())
            if packed:
                places.append(file.tell())
                file.write(b"%018d" % 0 + f'"/>{closed}\n'.encode())
            else:
                write_base64(file, size, chunks)
                file.write(f"</DataArray>{closed}\n".encode())
        file.write(b"</Piece></UnstructuredGrid>")
        if packed:
            file.write(b'<AppendedData encoding="raw">_')
            start = file.tell()
            for place, (*_, size, chunks) in zip(places, arrays, strict=True):
                here = file.tell()
                file.seek(place)
                file.write(b"%018d" % (here - start))
                file.seek(here)
                write_blocks(file, size, chunks)
            file.write(b"</AppendedData>")
        file.write(b"</VTKFile>\n")


def write_base64(file, size: int, chunks: Chunks) -> None:
    rest = struct.pack("<Q", size)
    for chunk in chunks():
        rest += chunk.tobytes()
        whole = len(rest) // 3 * 3
        file.write(base64.b64encode(rest[:whole]))
        rest = rest[whole:]
    file.write(base64.b64encode(rest))


def write_blocks(file, size: int, chunks: Chunks) -> None:
    count = -(-size // BLOCK)
    file.write(struct.pack("<3Q", count, BLOCK, size % BLOCK))
    place, sizes, rest = file.tell(), [], b""
    file.write(bytes(8 * count))
    for chunk in chain(chunks(), [None]):
        rest += b"" if chunk is None else chunk.tobytes()
        whole = len(rest) if chunk is None else len(rest) // BLOCK * BLOCK
        for start in range(0, whole, BLOCK):
            block = zlib.compress(rest[start : min(start + BLOCK, whole)], 1)
            sizes.append(len(block))
            file.write(block)
        rest = rest[whole:]
    end = file.tell()
    file.seek(place)
    file.write(struct.pack(f"<{count}Q", *sizes))
    file.seek(end)


def anonymous() -> int:
    """Bytes of this process's own memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def measured(work: Callable[[], object]) -> tuple[float, int]:
    """Seconds that it took, and the most anonymous memory on the way, seen every 20 ms."""
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return time.perf_counter() - start, most[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=272, help="cells along an edge (default 272: 20 million)")
    parser.add_argument("--inline", action="store_true", help="inline base64, not packed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run_1" / "volume_1.vtu"
        path.parent.mkdir()
        seconds, _ = measured(lambda: write_volume(path, given.side, not given.inline))
        size, before = path.stat().st_size, anonymous()
        print(f"{given.side**3:,} cells, a file of {size / 1e6:,.0f} MB written in {seconds:.0f} s")
        root = Path(folder) / "prepared"
        root.mkdir()
        used = time.process_time()
        seconds, most = measured(lambda: convert(root, "run_1", DRIVAERML.volume, [[path]], "run_1 volume"))
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        used = time.process_time() - used
        print(f"converted in {seconds:.1f} s ({used:.1f} s of a core), {size / seconds / 1e6:.0f} MB/s of the file")
        print(
            f"anonymous memory at most {most / 1e6:,.0f} MB, {before / 1e6:,.0f} MB before; peak {peak / 1e6:,.0f} MB"
        )


if __name__ == "__main__":
    main()
