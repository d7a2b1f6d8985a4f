"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat

import pytest

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import replacing, write_csv, write_file, write_text


def test_texts_and_tables(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "ä\n\udcff")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "ä\n?".encode()
    write_csv(tmp_path / "a.csv", ["a", "b"], [[1, "x,y"], [None, 2.5]])
    assert (tmp_path / "a.csv").read_bytes() == b'a,b\r\n1,"x,y"\r\n,2.5\r\n'


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_what_ends_the_writing_leaves_the_old_file(tmp_path, error):
    write_text(tmp_path / "a", "old")
    with pytest.raises(error), replacing(tmp_path / "a") as file:
        file.write(b"half")
        raise error
    with pytest.raises(error), replacing(tmp_path / "b") as file:
        raise error
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


def test_the_file_is_whole_before_it_has_its_name(tmp_path):
    path, seen = tmp_path / "a", []
    path.write_text("old")
    with replacing(path, lambda: seen.append((path.read_text(), (tmp_path / "a.tmp").read_text()))) as file:
        file.write(b"new")
    assert seen == [("old", "new")] and path.read_text() == "new" and os.listdir(tmp_path) == ["a"]


def test_a_full_disk_is_one_line(tmp_path):
    def fill(file):
        file.write(b"half")
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(InputError, match=r"a: cannot be written \(No space left on device\)"):
        write_file(tmp_path / "a", fill)
    assert not os.listdir(tmp_path)


def test_devices_and_folders_are_not_replaced(tmp_path):
    with pytest.raises(InputError, match=r"^/dev/full: cannot be written \(it is a folder or a device, not a file\)$"):
        write_text("/dev/full", "x")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode) and not os.path.exists("/dev/full.tmp")
    (tmp_path / "link").symlink_to("/dev/full")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe"):
        with pytest.raises(InputError, match="not a file"):
            write_text(tmp_path / name, "x")
    assert sorted(os.listdir(tmp_path)) == ["folder", "link", "pipe"]


def test_a_file_in_the_way_is_one_line(tmp_path):
    write_text(tmp_path / "a", "old")
    for place in ("a/b", "a/b/c"):
        with pytest.raises(InputError, match="cannot be written"):
            write_text(tmp_path / place, "x")
    assert (tmp_path / "a").read_text() == "old"
    with pytest.raises(InputError, match="No such file or directory"):
        write_file(tmp_path / "none" / "a", lambda file: None, make_folder=False)
    assert os.listdir(tmp_path) == ["a"]
