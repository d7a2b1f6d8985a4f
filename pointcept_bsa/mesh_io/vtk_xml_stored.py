"""The numbers of one array of a VTK XML file, read from front to back: raw or base64, plain or packed by blocks."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.joined_file import JoinedFile
from pointcept_bsa.mesh_io.streams import Take
from pointcept_bsa.mesh_io.vtk_packing import LZMA_RATIO, Unpack, encoded, unpacked_block

SPACES = b" \t\r\n"
TakeBytes = Callable[[int], bytes]  # the next so many bytes


class Coding(NamedTuple):
    """How a file writes its arrays: the type of the lengths before them, and what unfolds their blocks, if anything."""

    header: np.dtype
    unpack: Unpack | None


class StoredArray:
    """Where an array lies in a file and how long it is.

    Args:
        start: where its length begins.
        end: where its text ends at the latest; that of the file for appended data.
        in_base64: else raw bytes.

    Attributes:
        num_bytes: of its numbers.
        stored_end: where what is stored of it ends; in base64 with line breaks later.

    Raises:
        InputError: no length of an array, or one beyond the end.
    """

    def __init__(
        self, file: JoinedFile, start: int, end: int, in_base64: bool, coding: Coding, what: str, where: object
    ) -> None:
        self.file, self.end, self.in_base64, self.coding = file, end, in_base64, coding
        self.what, self.where = what, where
        if in_base64:
            start = self._first_character(start)
        self._start = start
        self._sizes: list[tuple[int, int]] = []  # packed and whole size of each block
        if coding.unpack is None:
            self._read_length()
        else:
            self._read_block_sizes()
        if self.stored_end > end:
            raise InputError(
                f"{where}: {what} announces {self.num_bytes} bytes, the file ends {self.stored_end - end} bytes before "
                "their end: truncated"
            )

    def open(self, dtype: np.dtype) -> Take:
        """Begin to read numbers of a type."""
        take = self._bytes(self._start, self._skip) if self.coding.unpack is None else self._unpacked()
        native = dtype.newbyteorder("=")

        def numbers(count: int) -> np.ndarray:
            return np.frombuffer(take(count * dtype.itemsize), dtype, count).astype(native)

        return numbers

    def _read_length(self) -> None:
        """A length, then as many bytes; in base64 both together or, where the length is filled up, each for itself."""
        size = self.coding.header.itemsize
        (self.num_bytes,) = self._header(1)
        whole = encoded(size) // 4 * 3  # bytes of so many characters
        alone = self.in_base64 and self.file.read(self._start, encoded(size)).count(b"=") == whole - size
        if alone:
            self._start, self._skip = self._start + encoded(size), 0
        else:
            self._skip = size
        stored = self._skip + self.num_bytes
        self.stored_end = self._start + (encoded(stored) if self.in_base64 else stored)

    def _read_block_sizes(self) -> None:
        """Number of blocks, size of a block, size of the last one (0: whole), packed sizes; then the blocks."""
        blocks, size, last = self._header(3)
        if blocks > (self.end - self._start) // self.coding.header.itemsize:
            raise InputError(f"{self.where}: {self.what} announces {blocks} blocks, the file ends before: truncated")
        packed = self._header(3 + blocks)[3:]
        self._sizes = [(n, last if i == blocks - 1 and last else size) for i, n in enumerate(packed)]
        self.num_bytes = sum(whole for _, whole in self._sizes)
        length = (3 + blocks) * self.coding.header.itemsize
        self._start += encoded(length) if self.in_base64 else length
        total = sum(packed)
        if self.num_bytes > LZMA_RATIO * total:
            raise InputError(f"{self.where}: {self.what} says that {total} bytes unfold to {self.num_bytes}")
        self.stored_end = self._start + (encoded(total) if self.in_base64 else total)

    def _header(self, count: int) -> list[int]:
        content = self._bytes(self._start, 0)(count * self.coding.header.itemsize)
        return [int(number) for number in np.frombuffer(content, self.coding.header, count)]

    def _unpacked(self) -> TakeBytes:
        assert self.coding.unpack is not None
        unpack, take, sizes, rest = self.coding.unpack, self._bytes(self._start, 0), iter(self._sizes), bytearray()

        def unfolded(length: int) -> bytes:
            while len(rest) < length:
                packed, whole = next(sizes, (0, 0))
                if whole == 0:
                    raise InputError(f"{self.where}: {self.what} has fewer bytes than it announces")
                rest.extend(unpacked_block(unpack, take(packed), whole, self.what, self.where))
            found = bytes(rest[:length])
            del rest[:length]
            return found

        return unfolded

    def _bytes(self, start: int, skip: int) -> TakeBytes:
        """Bytes from ``start`` on, without the first ``skip``."""
        take = self._decoded(start) if self.in_base64 else self._raw(start)
        take(skip)
        return take

    def _raw(self, position: int) -> TakeBytes:
        def take(length: int) -> bytes:
            nonlocal position
            found = self.file.read(position, min(length, self.end - position))
            if len(found) < length:
                raise InputError(f"{self.where}: ends within {self.what}: truncated")
            position += length
            return found

        return take

    def _decoded(self, position: int) -> TakeBytes:
        text, rest = b"", b""

        def take(length: int) -> bytes:
            nonlocal position, text, rest
            parts, count = [rest], len(rest)
            while count < length:
                wanted = encoded(length - count) - len(text)
                chunk = self.file.read(position, min(wanted, self.end - position))
                if not chunk:
                    raise InputError(f"{self.where}: ends within {self.what}: truncated")
                position += len(chunk)
                text += chunk.translate(None, SPACES)
                whole = len(text) // 4 * 4
                try:
                    parts.append(base64.b64decode(text[:whole], validate=True))
                except binascii.Error as error:
                    raise InputError(f"{self.where}: {self.what} is not base64 ({error})") from None
                text, count = text[whole:], count + len(parts[-1])
            found = b"".join(parts)
            rest = found[length:]
            return found[:length]

        return take

    def _first_character(self, position: int) -> int:
        window = self.file.read(position, 4096)
        return position + len(window) - len(window.lstrip(SPACES))
