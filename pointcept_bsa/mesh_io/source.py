"""A file in memory, read from front to back; nothing is allocated before the file is seen to be long enough for it."""

from __future__ import annotations

import codecs
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pointcept_bsa.errors import InputError

MAX_BYTES = 8 << 30  # of a mesh file; also of what a compressed file may unfold to
MAX_RATIO = 1100  # deflate packs 1032 bytes into one at most
WORD = 64  # longest number in a text, in characters
NEXT_WORD = re.compile(rb"\s*(\S{1,4096})")


def read_file(path: str | Path, wanted: str) -> bytes:
    """Return the content of a file.

    Raises:
        InputError: missing, not a regular file, larger than ``MAX_BYTES``.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(f"{path}: is no file, wanted {wanted}")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path}: has {size} bytes, wanted at most {MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), wanted {wanted}") from None


class Source:
    """Bytes with a reading position.

    Args:
        data: the bytes.
        where: what an error names.
    """

    def __init__(self, data: bytes, where: object) -> None:
        self.data = data
        self.where = where
        self.position = 0

    @property
    def rest(self) -> int:
        """Bytes that are left."""
        return len(self.data) - self.position

    def line(self, end_of_line: bytes = b"\n") -> str | None:
        """Return the next line, stripped; None at the end. What is not UTF-8 counts as Latin-1."""
        if self.position >= len(self.data):
            return None
        end = self.data.find(end_of_line, self.position)
        end = len(self.data) if end < 0 else end
        line = self.data[self.position : min(end, self.position + 4096)]
        self.position = end + 1
        return decoded(line).strip()

    def filled_lines(self, end_of_line: bytes = b"\n") -> Iterator[str]:
        """Go through the lines that are not empty."""
        while (line := self.line(end_of_line)) is not None:
            if line:
                yield line

    def word(self) -> str | None:
        """Return the next word; None at the end."""
        found = NEXT_WORD.match(self.data, self.position)
        if found is None:
            self.position = len(self.data)
            return None
        self.position = found.end()
        return decoded(found.group(1))

    def next_word(self) -> str | None:
        """Return the next word and stay where the source is; None at the end."""
        found = NEXT_WORD.match(self.data, self.position)
        return None if found is None else decoded(found.group(1))

    def rest_of_line(self) -> bytes:
        """Return what is left of the line and go to the next one."""
        end = self.data.find(b"\n", self.position)
        end = len(self.data) if end < 0 else end
        rest = self.data[self.position : end]
        self.position = min(end + 1, len(self.data))
        return rest

    def skip(self, count: int, what: str) -> None:
        """Pass over ``count`` bytes.

        Raises:
            InputError: the file does not hold as many.
        """
        if count > self.rest:
            raise InputError(f"{self.where}: announces {count} bytes of {what}, {self.rest} are left: truncated")
        self.position += count

    def binary(self, count: int, dtype: np.dtype, what: str) -> np.ndarray:
        """Return the next ``count`` numbers, in this machine's byte order.

        Raises:
            InputError: the file does not hold as many.
        """
        wanted = self.counted(count, what) * dtype.itemsize
        if wanted > self.rest:
            raise InputError(
                f"{self.where}: announces {count} numbers ({wanted} bytes) of {what}, {self.rest} bytes are left"
            )
        values = np.frombuffer(self.data, dtype, count, self.position)
        self.position += wanted
        return values.astype(dtype.newbyteorder("="))

    def text(self, count: int, dtype: np.dtype, what: str) -> np.ndarray:
        """Return the next ``count`` numbers written as text.

        Raises:
            InputError: the file does not hold as many, or something else among them.
        """
        return text_numbers(self.words(count, what), dtype, what, self.where)

    def words(self, count: int, what: str) -> list[bytes]:
        """Return the next ``count`` words.

        Raises:
            InputError: the file does not hold as many.
        """
        if self.counted(count, what) > (self.rest + 1) // 2:
            raise InputError(f"{self.where}: announces {count} numbers of {what}, {self.rest} characters are left")
        if count == 0:
            return []
        width = 24 * count + 4096
        while True:
            window = self.data[self.position : self.position + width]
            words = window.split(None, count)
            if len(words) > count:
                self.position += len(window) - len(words[count])
                return words[:count]
            if len(window) < width:  # the end of the file
                break
            width *= 2
        if len(words) < count:
            raise InputError(f"{self.where}: announces {count} numbers of {what}, {len(words)} are there")
        self.position = len(self.data)
        return words

    def counted(self, count: int, what: str) -> int:
        """Return ``count``; raises ``InputError`` for a negative one."""
        if count < 0:
            raise InputError(f"{self.where}: announces {count} numbers of {what}, wanted 0 or more")
        return count


def decoded(content: bytes) -> str:
    """Return a text: UTF-8 with or without a byte order mark, UTF-16 with one, else Latin-1, which is all bytes."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def text_numbers(words: list[bytes], dtype: np.dtype, what: str, where: object) -> np.ndarray:
    """Return numbers written as text.

    Raises:
        InputError: a word that is no number of this type.
    """
    try:
        if words and max(map(len, words)) > WORD:
            raise ValueError(f"a word of more than {WORD} characters")
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                return np.array([float(word) for word in words], np.float64).astype(dtype)
        return np.array([int(word) for word in words], dtype=dtype)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{where}: {what} is not all {dtype} numbers ({_short(error)})") from None


def whole_number(word: str, what: str, where: object) -> int:
    """Return a count of a header.

    Raises:
        InputError: not an integer of at least 0.
    """
    if not (word.isascii() and word.isdigit() and len(word) <= 18):
        raise InputError(f"{where}: {what} is {word[:40]!r}, wanted an integer of at least 0")
    return int(word)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:80]
