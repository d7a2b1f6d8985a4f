"""Fetching from a local server: resumed, verified, unpacked inside the folder only."""

from __future__ import annotations

import gzip
import http.server
import io
import os
import random
import shutil
import struct
import tarfile
import threading
import zipfile

import pytest

from pointcept_bsa.datasets.prepare import download as download_module
from pointcept_bsa.datasets.prepare.download import download, extract, sha256_of, verify
from pointcept_bsa.errors import InputError

WANTED = ("press.npy", "quadpress_smpl.vtk")


class Server(http.server.BaseHTTPRequestHandler):
    content = b""
    ranges: list = []
    stop_after: int | None = None
    honours_range = True
    announced: int | None = None  # bytes, where it does not tell the truth

    def do_GET(self):
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.honours_range else 0
        if self.path != "/data.zip":
            self.send_error(404)
        elif asked and self.honours_range and start >= len(self.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(self.content)}")
            self.end_headers()
        else:
            self.send_response(206 if asked and self.honours_range else 200)
            self.send_header("Content-Length", str(self.announced or len(self.content) - start))
            self.end_headers()
            self.wfile.write(self.content[start:][: self.stop_after])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Server,), {"content": bytes(range(256)) * 40, "ranges": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        handler.url = f"http://127.0.0.1:{running.server_port}/data.zip"
        yield handler
        running.shutdown()


def test_an_interrupted_download_is_continued(server, tmp_path):
    archive = tmp_path / "data.zip"
    server.stop_after = 1000
    with pytest.raises(InputError, match="1000 of 10240 bytes|IncompleteRead"):
        download(server.url, archive)
    assert not archive.exists() and (tmp_path / "data.zip.part").stat().st_size == 1000
    server.stop_after = None
    download(server.url, archive)
    assert archive.read_bytes() == server.content and server.ranges == [None, "bytes=1000-"]
    assert not (tmp_path / "data.zip.part").exists()


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.honours_range = False
    (tmp_path / "data.zip.part").write_bytes(b"x" * 50)
    download(server.url, tmp_path / "data.zip")
    assert (tmp_path / "data.zip").read_bytes() == server.content


def test_a_part_that_is_already_whole(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(server.content)
    download(server.url, tmp_path / "data.zip")
    assert (tmp_path / "data.zip").read_bytes() == server.content


def test_a_part_of_something_longer_is_thrown_away(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(server.content + b"more")
    with pytest.raises(InputError, match="removed; run again"):
        download(server.url, tmp_path / "data.zip")
    assert not (tmp_path / "data.zip.part").exists()


def test_no_network_and_no_such_file_are_one_line(server, tmp_path):
    with pytest.raises(InputError, match="answers 404"):
        download(server.url.replace("data.zip", "other.zip"), tmp_path / "other.zip")
    with pytest.raises(
        InputError, match="cannot fetch http://127.0.0.1:9/data.zip .*wanted a network connection"
    ) as error:
        download("http://127.0.0.1:9/data.zip", tmp_path / "data.zip")
    assert "\n" not in str(error.value)


def test_checksum_is_recorded_then_verified(tmp_path):
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"one")
    assert "no published one" in verify(archive)
    assert (tmp_path / "a.zip.sha256").read_text() == f"{sha256_of(archive)}  a.zip\n"
    assert "as expected" in verify(archive)
    archive.write_bytes(b"two")
    with pytest.raises(InputError, match="a.zip: sha256 is .*, wanted "):
        verify(archive)


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return path


def tar_bytes(members, link=None):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo(link[0])
            info.type, info.linkname = tarfile.SYMTYPE, link[1]
            bundle.addfile(info)
    return buffer.getvalue()


def test_nested_archives_give_only_the_wanted_files(tmp_path):
    inner = tar_bytes({"param0/a/press.npy": b"p", "param0/a/hexvelo_smpl.vtk": b"v", "param0/a/._press.npy": b"m"})
    members = {"mlcfd_data/training_data/param0.tar.gz": inner, "mlcfd_data/param1/b/quadpress_smpl.vtk": b"q"}
    members["__MACOSX/mlcfd_data/._param0.tar.gz"] = b"junk"
    assert extract(make_zip(tmp_path / "a.zip", members), tmp_path / "raw", WANTED) == 2
    found = {str(p.relative_to(tmp_path / "raw")) for p in (tmp_path / "raw").rglob("*") if p.is_file()}
    assert found == {"mlcfd_data/training_data/param0/a/press.npy", "mlcfd_data/param1/b/quadpress_smpl.vtk"}


@pytest.mark.parametrize("name", ["../press.npy", "/tmp/press.npy", "a/../../press.npy", "..\\press.npy"])
def test_no_member_leaves_the_folder(tmp_path, name):
    for archive in (make_zip(tmp_path / "a.zip", {name: b"x"}), tmp_path / "b.tar.gz"):
        if archive.suffix == ".gz":
            archive.write_bytes(tar_bytes({name: b"x"}))
        with pytest.raises(InputError, match="would leave the target folder"):
            extract(archive, tmp_path / "deep" / "raw", WANTED)
    assert not list(tmp_path.rglob("press.npy")) and not (tmp_path / "deep" / "raw").exists()


def test_links_are_left_out(tmp_path):
    (tmp_path / "a.tgz").write_bytes(tar_bytes({"x/press.npy": b"p"}, link=("y/press.npy", "/etc/passwd")))
    assert extract(tmp_path / "a.tgz", tmp_path / "raw", WANTED) == 1
    assert not (tmp_path / "raw" / "y").exists()


def test_damaged_or_empty_archives_are_refused_by_name(tmp_path):
    whole = make_zip(tmp_path / "a.zip", {"press.npy": b"p" * 1000}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:500])
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF
    (tmp_path / "flip.zip").write_bytes(flipped)
    (tmp_path / "cut.tar.gz").write_bytes(tar_bytes({"press.npy": bytes(range(256)) * 100})[:-200])
    for name in ("cut.zip", "flip.zip", "cut.tar.gz"):
        with pytest.raises(InputError, match=f"{name}: cannot be unpacked"):
            extract(tmp_path / name, tmp_path / "raw", WANTED)
        assert not (tmp_path / "raw").exists()
    with pytest.raises(InputError, match="holds none of the files"):
        extract(make_zip(tmp_path / "none.zip", {"x.txt": b"x"}), tmp_path / "raw", WANTED)


def pax_zero() -> bytes:
    """A tar whose member has a name with a zero byte in it, which plain headers cannot have."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as bundle:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"path": "a/\0/press.npy"}
        info.size = 1
        bundle.addfile(info, io.BytesIO(b"p"))
    return buffer.getvalue()


def encrypted(data: bytes) -> bytes:
    """A zip with the flags of its members set to encrypted."""
    changed = bytearray(data)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[changed.index(mark) + place] |= 1
    return bytes(changed)


def test_foreign_members_are_one_line(tmp_path):
    (tmp_path / "zero.tar").write_bytes(pax_zero())
    (tmp_path / "secret.zip").write_bytes(encrypted(make_zip(tmp_path / "a.zip", {"press.npy": b"p"}).read_bytes()))
    for name in ("zero.tar", "secret.zip"):
        with pytest.raises(InputError, match=f"{name}: cannot be unpacked") as error:
            extract(tmp_path / name, tmp_path / "raw", WANTED)
        assert "\n" not in str(error.value) and not (tmp_path / "raw").exists() and not list(tmp_path.glob(".raw*"))


def test_a_member_without_a_name_is_left_out(tmp_path):
    nameless = make_zip(tmp_path / "a.zip", {"x": b"1", "press.npy": b"p"}).read_bytes()
    for mark, place in ((b"PK\x03\x04", 26), (b"PK\x01\x02", 28)):  # the length of the first name becomes that of extra
        at = nameless.index(mark) + place
        nameless = nameless[:at] + struct.pack("<HH", 0, 1) + nameless[at + 4 :]
    (tmp_path / "nameless.zip").write_bytes(nameless)
    assert extract(tmp_path / "nameless.zip", tmp_path / "raw", WANTED) == 1


def test_nothing_is_left_of_what_went_wrong(tmp_path):
    """Whether files were unpacked before, or the program itself is to blame, which shows as it is."""
    damaged = make_zip(tmp_path / "a.zip", {"a/press.npy": b"p", "param0.tar.gz": b"no archive"})
    with pytest.raises(InputError, match=r"param0.tar.gz.* cannot be unpacked"):
        extract(damaged, tmp_path / "raw", WANTED)
    assert os.listdir(tmp_path) == ["a.zip"]
    with pytest.raises(TypeError, match="unhashable"):
        extract(damaged, tmp_path / "raw", [["press.npy"]])
    assert os.listdir(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_flipped_bytes_are_unpacked_or_refused(tmp_path, name):
    members = {"x/press.npy": bytes(range(256)) * 3, "y/param0.tar.gz": tar_bytes({"press.npy": b"p" * 600})}
    data = make_zip(tmp_path / "b.zip", members).read_bytes() if name == "a.zip" else tar_bytes(members)
    data = gzip.decompress(data) if name == "a.tar" else data
    draw = random.Random(0)
    for _ in range(400):
        changed = bytearray(data)
        for _ in range(draw.choice([1, 1, 4, 30])):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        (tmp_path / name).write_bytes(changed)
        try:
            extract(tmp_path / name, tmp_path / "raw", WANTED)
        except InputError as error:
            assert "\n" not in str(error)
        shutil.rmtree(tmp_path / "raw", ignore_errors=True)
        assert not list(tmp_path.glob(".raw*"))


def test_download_option_end_to_end(server, tmp_path, make_raw_car, prepare_tool, capsys):
    for i in range(2):
        make_raw_car(tmp_path / "src" / f"param{i}" / "car", seed=i)
    files = {str(p.relative_to(tmp_path / "src")): p.read_bytes() for p in (tmp_path / "src").rglob("*") if p.is_file()}
    server.content = make_zip(tmp_path / "made.zip", {"mlcfd_data/training_data.tar.gz": tar_bytes(files)}).read_bytes()
    out = tmp_path / "data" / "cars"
    command = ["shapenet_car", "--download", "--url", server.url, "--dst", str(out), "--allow-partial"]
    assert prepare_tool.main([*command, "--dry-run"]) == 0
    assert "would fetch" in capsys.readouterr().out and not (tmp_path / "data").exists()
    assert prepare_tool.main(command) == 0
    text = capsys.readouterr().out
    assert "sha256 of data.zip" in text and "prepared 2 cars" in text and (out / "split.json").is_file()
    assert prepare_tool.main(command) == 0 and len(server.ranges) == 1  # not fetched again


def test_archives_made_to_fill_the_disk_are_refused(tmp_path, monkeypatch):
    """A file of zeros, an archive in an archive in ..., too many files; nothing is left behind."""
    monkeypatch.setattr(download_module, "SMALL", 1 << 16)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("a/press.npy", bytes(1 << 24))
    with pytest.raises(InputError, match="unpacks to more than 100 times its size"):
        extract(bomb, tmp_path / "raw", WANTED)
    nested = make_zip(tmp_path / "0.zip", {"press.npy": b"x"})
    for level in range(1, 6):
        nested = make_zip(tmp_path / f"{level}.zip", {nested.name: nested.read_bytes()})
    with pytest.raises(InputError, match="more than 3 deep"):
        extract(nested, tmp_path / "raw", WANTED)
    monkeypatch.setattr(download_module, "MAX_FILES", 2)
    many = make_zip(tmp_path / "many.zip", {f"{i}/press.npy": b"x" for i in range(3)})
    with pytest.raises(InputError, match="more than 2 files"):
        extract(many, tmp_path / "raw", WANTED)
    assert not list(tmp_path.glob("*raw*")) and not list(tmp_path.glob(".raw*"))


def test_a_download_that_cannot_fit_is_refused_before_it_is_written(server, tmp_path):
    server.announced = 1 << 60
    with pytest.raises(InputError, match="1,152,921,504,606,846,976 bytes are to come, wanted no more than"):
        download(server.url, tmp_path / "data.zip")
    assert not os.listdir(tmp_path)
