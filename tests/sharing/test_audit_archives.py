"""Archives of strangers: what leads out of the folder, deceives or swells is refused, and nothing is left behind."""

import io
import os
import random
import stat
import struct
import zipfile

import pytest

from kdmri_monai.sharing.audit import audit
from kdmri_monai.sharing.audit_names import name_problem
from kdmri_monai.sharing.safe_archive import BundleLimits, UnsafeArchiveError, folder_files, unpack

SMALL = BundleLimits(entries=50, file_bytes=4 << 20, total_bytes=6 << 20)


def packed(bundle, path, extra=()):
    """The bundle as a zip archive, with members that a stranger adds."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(bundle.rglob("*")):
            if file.is_file():
                archive.write(file, f"student/{file.relative_to(bundle).as_posix()}")
        for name, data in extra:
            archive.writestr(name, data)
    return path


def info(name, mode=0, **fields):
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    for key, value in fields.items():
        setattr(member, key, value)
    return member


NAMES = {
    "slip": "../escaped.txt",
    "slip in the middle": "student/../../escaped.txt",
    "absolute": "/tmp/escaped.txt",
    "drive": "C:/escaped.txt",
    "backslash": "..\\escaped.txt",
    "control character": "student/a\nb.txt",
    "escape sequence": "student/\x1b[2Ja.txt",
    "right to left": "student/docs/readme\u202etxt.exe",
    "zero width": "student/LICENSE\u200b",
    "full width": "student/configs/\uff49nference.json",
    "ligature": "student/con\ufb01gs/inference.json",
    "Cyrillic letter": "student/configs/inf\u0435rence.json",
    "not normalised": "student/docs/cafe\u0301.txt",
    "device": "student/CON.txt",
    "trailing dot": "student/LICENSE.",
    "trailing space": "student/LICENSE ",
    "empty folder name": "student//a.txt",
    "very long": "student/" + "a" * 300,
    "very deep": "student/" + "a/" * 40 + "b",
    "the same name": "student/LICENSE",
    "the same in capitals": "student/license",
    "a file for a folder": "student/configs/inference.json/a",
}


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # zipfile, over the archive this test makes
@pytest.mark.parametrize("kind", NAMES)
def test_names_that_escape_or_deceive_are_refused(kind, stock_bundle, tmp_path):
    path = packed(stock_bundle, tmp_path / "a.zip", [(NAMES[kind], b"hello")])
    assert_refused(path, tmp_path)


def assert_refused(path, tmp_path, limits=None):
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UnsafeArchiveError) as caught:
        unpack(path, tmp_path / "out", *([limits] if limits else []))
    assert caught.value.reasons
    assert set(tmp_path.rglob("*")) == before, "a refused archive leaves nothing"
    if limits is None:
        report = audit(path)
        assert not report.safe
        assert {finding.group for finding in report.findings} == {"archive"}


@pytest.mark.parametrize(
    "mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFBLK], ids=lambda mode: oct(mode)
)
def test_links_and_devices_are_refused(mode, stock_bundle, tmp_path):
    extra = [(info("student/link", mode | 0o777), b"/etc/passwd")]
    assert_refused(packed(stock_bundle, tmp_path / "a.zip", extra), tmp_path)


def test_a_bomb_is_refused_by_its_proportion(stock_bundle, tmp_path):
    path = packed(stock_bundle, tmp_path / "a.zip", [("student/zeros.bin", bytes(3 << 20))])
    assert_refused(path, tmp_path)


def test_a_large_file_is_refused(stock_bundle, tmp_path):
    data = random.Random(0).randbytes(5 << 20)
    assert_refused(packed(stock_bundle, tmp_path / "a.zip", [("student/x.bin", data)]), tmp_path, SMALL)


def test_many_files_that_are_large_together_are_refused(stock_bundle, tmp_path):
    data = random.Random(0).randbytes(2 << 20)
    extra = [(f"student/{number}.bin", data) for number in range(4)]
    assert_refused(packed(stock_bundle, tmp_path / "a.zip", extra), tmp_path, SMALL)


def test_very_many_files_are_refused(stock_bundle, tmp_path):
    extra = [(f"student/{number}.txt", b"") for number in range(60)]
    assert_refused(packed(stock_bundle, tmp_path / "a.zip", extra), tmp_path, SMALL)


def central(data, name):
    """Place of a member's entry in the directory."""
    start = data.rindex(b"PK\1\2" if name is None else name.encode())
    return start if name is None else data.rindex(b"PK\1\2", 0, start)


def spoil(bundle, tmp_path, change):
    path = packed(bundle, tmp_path / "a.zip", [("student/z.txt", b"hello" * 9)])
    data = bytearray(path.read_bytes())
    path.write_bytes(change(data) or data)
    return path


def lie_about_the_size(data):
    struct.pack_into("<I", data, central(data, "student/z.txt") + 24, 5)


def declare_gigabytes(data):
    struct.pack_into("<I", data, central(data, "student/z.txt") + 24, 0xFFFFFFF0)


def overlap(data):
    """Two entries of the directory over the same bytes, as in the bomb of David Fifield (2019)."""
    place = central(data, "student/z.txt")
    other = central(data, "student/models/model.pt")
    struct.pack_into("<I", data, place + 42, struct.unpack_from("<I", data, other + 42)[0])


def encrypt(data):
    place = central(data, "student/z.txt")
    struct.pack_into("<H", data, place + 8, struct.unpack_from("<H", data, place + 8)[0] | 1)


def another_method(data):
    struct.pack_into("<H", data, central(data, "student/z.txt") + 10, 12)


def another_local_name(data):
    place = data.index(b"student/z.txt")
    data[place : place + 13] = b"student/y.txt"


def another_local_size(data):
    place = data.index(b"student/z.txt") - 30
    struct.pack_into("<I", data, place + 22, 4)


def another_checksum(data):
    struct.pack_into("<I", data, central(data, "student/z.txt") + 16, 1)
    struct.pack_into("<I", data, data.index(b"student/z.txt") - 30 + 14, 1)


def prepend(data):
    return b"#!/bin/sh\ntouch canary\n" + data


def append(data):
    """A second, empty archive behind the first: readers that look at the end see no files."""
    return data + b"PK\5\6" + bytes(18)


def hide(data):
    """Bytes between two members that no entry of the directory covers."""
    place = data.rindex(b"PK\3\4")
    moved = bytearray(data[:place] + b"hidden bytes, longer than a descriptor" + data[place:])
    entry, end = central(moved, "student/z.txt"), moved.rindex(b"PK\5\6")
    struct.pack_into("<I", moved, entry + 42, place + 38)
    struct.pack_into("<I", moved, end + 16, struct.unpack_from("<I", moved, end + 16)[0] + 38)
    return moved


LIES = [
    *(lie_about_the_size, declare_gigabytes, overlap, encrypt, another_method, another_local_name),
    *(another_local_size, another_checksum, prepend, append, hide),
]


@pytest.mark.parametrize("change", LIES, ids=lambda change: change.__name__)
def test_headers_that_lie_are_refused(change, stock_bundle, tmp_path):
    assert_refused(spoil(stock_bundle, tmp_path, change), tmp_path)


def test_members_inside_each_other_are_refused(tmp_path):
    """Both headers are true, and one lies in the other's content: each byte is counted twice, or a thousand times."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("student/b.txt", b"hello")
    record = inner.getvalue()[: inner.getvalue().index(b"PK\1\2")]
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("student/a.txt", record)
        second = zipfile.ZipInfo("student/b.txt")
        with zipfile.ZipFile(inner) as other:
            found = other.getinfo("student/b.txt")
        second.CRC, second.file_size, second.compress_size = found.CRC, found.file_size, found.compress_size
        second.external_attr, second.date_time = found.external_attr, found.date_time
        second.header_offset = 30 + len("student/a.txt")
        archive.filelist.append(second)
        archive.NameToInfo[second.filename] = second
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["student/a.txt", "student/b.txt"]
    assert_refused(path, tmp_path)


def test_an_archive_that_contains_itself_is_not_opened(stock_bundle, tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.zip", bytes(1 << 20))
    report = audit(packed(stock_bundle, tmp_path / "a.zip", [("student/nested.zip", inner.getvalue())]))
    assert any("not opened" in finding.reason or "refused" in finding.reason for finding in report.findings)


def test_what_is_no_archive_is_an_error_and_not_a_verdict(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 and nothing else")
    with pytest.raises(ValueError, match="not a zip archive"):
        audit(tmp_path / "a.zip")


def test_a_good_archive_unpacks_to_the_same_files(stock_bundle, tmp_path):
    root = unpack(packed(stock_bundle, tmp_path / "a.zip"), tmp_path / "out")
    assert root == tmp_path / "out/student"
    before = {name: path.read_bytes() for name, path in folder_files(stock_bundle).items()}
    assert {name: path.read_bytes() for name, path in folder_files(root).items()} == before
    assert len(before) == 6


def test_an_archive_written_to_a_stream_or_commented_as_by_github_is_good(stock_bundle, tmp_path):
    class Stream(io.RawIOBase):
        def __init__(self, file):
            self.file = file

        def writable(self):
            return True

        def write(self, data):
            return self.file.write(data)

    with (tmp_path / "a.zip").open("wb") as file, zipfile.ZipFile(Stream(file), "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(stock_bundle.rglob("*")):
            archive.write(path, f"student/{path.relative_to(stock_bundle).as_posix()}")
        archive.comment = b"3def9cf0a1"
    assert audit(tmp_path / "a.zip").safe


def test_a_folder_that_is_not_empty_is_not_unpacked_into(stock_bundle, tmp_path):
    path = packed(stock_bundle, tmp_path / "a.zip")
    with pytest.raises(ValueError, match="not an empty folder"):
        unpack(path, stock_bundle)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("link.json", lambda path: path.symlink_to("/etc/passwd")),
        ("linked", lambda path: path.symlink_to("/etc")),
        ("pipe", os.mkfifo),
    ],
)
def test_links_and_devices_in_a_folder_are_refused(name, make, stock_bundle):
    make(stock_bundle / "configs" / name)
    report = audit(stock_bundle)
    assert not report.safe
    assert "link or a device" in report.findings[0].reason


@pytest.mark.parametrize(
    "name", ["configs/inference.json", "docs/caf\u00e9.md", "data/\u8133\u8167\u760d.png", "a b/c_1.txt"]
)
def test_ordinary_names_pass(name):
    assert name_problem(name) is None
