"""Malformed files of every sort: what is said of them, and that nothing else is lost."""

import os
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from kdmri_monai.data.errors import BadSliceError, BadSourceError
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions


def prepare(source, out, **options):
    options = {"store_size": 64, "workers": 1, **options}
    return prepare_dataset(source, out, PrepareOptions(**options), SplitOptions(external=True), progress=False).datalist


def kept(datalist):
    return [entry["id"] for entry in datalist["test"]]


def bad_image(fill):
    image = np.zeros((64, 64), np.float64)
    image[:] = fill
    return image


WRONG_MASK = np.ones((64, 32), np.uint8)
ONE_NAN = np.arange(4096.0).reshape(64, 64)
ONE_NAN[5, 5] = np.nan

# what cjdata() is called with, the field that is named, part of the reason
BAD_SLICES = {
    "no label": ({"label": ...}, "cjdata/label", "is missing"),
    "label 0": ({"label": 0}, "cjdata/label", "is 0, allowed are 1..3"),
    "label 7": ({"label": 7}, "cjdata/label", "is 7, allowed are 1..3"),
    "label 1.5": ({"label": 1.5}, "cjdata/label", "is 1.5, allowed are 1..3"),
    "label NaN": ({"label": np.nan}, "cjdata/label", "is nan, allowed are 1..3"),
    "two labels": ({"label": ..., "more": {"struct_label": np.array([1.0, 2.0])}}, "cjdata/label", "has 2 values"),
    "label is text": ({"label": ..., "more": {"struct_label": "1"}}, "cjdata/label", "does not hold numbers"),
    "label is a struct": ({"label": ..., "more": {"struct_label/x": 1}}, "cjdata/label", "is not an array"),
    "no id": ({"pid": ...}, "cjdata/PID", "is missing"),
    "id of nothing": ({"pid": np.empty((0, 0), np.uint16)}, "cjdata/PID", "is empty"),
    "id of numbers": ({"pid": np.array([[100360.0]])}, "cjdata/PID", "is not text"),
    "id unprintable": ({"pid": "12\x1b[31m"}, "cjdata/PID", r"is '12\x1b[31m'"),
    "no image": ({"image": ...}, "cjdata/image", "is missing"),
    "image empty": ({"image": np.empty((0, 0))}, "cjdata/image", "is empty"),
    "image 1-D": ({"image": np.arange(64)}, "cjdata/image", "has 1 dimensions"),
    "image 3-D": ({"image": np.zeros((4, 4, 3))}, "cjdata/image", "has 3 dimensions"),
    "image constant": ({"image": bad_image(5)}, "cjdata/image", "is constant: every pixel is 5"),
    "image NaN": ({"image": bad_image(np.nan)}, "cjdata/image", "4096 of 4096 pixels NaN"),
    "one NaN": ({"image": ONE_NAN}, "cjdata/image", "1 of 4096 pixels NaN"),
    "image infinite": ({"image": np.diag([np.inf] * 64)}, "cjdata/image", "64 of 4096 pixels NaN or infinite"),
    "mask of another size": ({"mask": WRONG_MASK}, "cjdata/tumorMask", "has 64 x 32 pixels, the image has 64 x 64"),
    "mask NaN": ({"mask": ..., "more": {"struct_tumorMask": bad_image(np.nan)}}, "cjdata/tumorMask", "not finite"),
    "border odd": ({"border": (1, 2, 3)}, "cjdata/tumorBorder", "has 3 numbers, pairs"),
    "border NaN": ({"border": (1, np.nan)}, "cjdata/tumorBorder", "not finite"),
}


@pytest.fixture
def beside_good_ones(tmp_path, twelve_slices):
    """Puts a bad file in the middle of good ones; gives their folder."""

    def write(content: bytes) -> Path:
        folder = tmp_path / "mats"
        folder.mkdir()
        for name in ("1.mat", "9.mat"):
            (folder / name).write_bytes(twelve_slices[name])
        (folder / "5.mat").write_bytes(content)
        return folder

    return write


@pytest.mark.parametrize("case", BAD_SLICES)
def test_a_bad_slice_is_named_with_its_field_and_the_others_are_kept(tmp_path, beside_good_ones, cjdata, case):
    arguments, field, reason = BAD_SLICES[case]
    arguments, more = dict(arguments), dict(arguments).get("more", {})
    arguments.pop("more", None)
    folder = beside_good_ones(cjdata(**{"image": np.arange(4096).reshape(64, 64), **arguments}, **more))
    datalist = prepare(folder, tmp_path / "out")
    assert kept(datalist) == ["1", "9"]
    (skipped,) = datalist["skipped"]
    assert (skipped["name"], skipped["field"]) == ("5.mat", field)
    assert reason in skipped["reason"]
    assert datalist["counts"]["skipped_groups"][0]["first"] == ["5.mat"]
    with pytest.raises(BadSliceError, match=r"^5\.mat: " + field):
        prepare(folder, tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict" / "datalist.json").exists()


def truncated(content):
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        (lambda content: b"", "file", "is empty"),
        (lambda content: b"MATLAB 5.0 MAT-file".ljust(9000), "file", "is not HDF5; a MATLAB v7.3 file is expected"),
        (lambda content: truncated(content), "file", "is not readable as HDF5"),
        (lambda content: content[:512] + bytes(len(content) - 512), "file", "is not HDF5"),
    ],
    ids=["empty", "matlab 5", "truncated", "zeros"],
)
def test_a_file_that_is_not_hdf5_is_reported(tmp_path, beside_good_ones, cjdata, change, field, reason):
    datalist = prepare(beside_good_ones(change(cjdata())), tmp_path / "out")
    assert kept(datalist) == ["1", "9"]
    (skipped,) = datalist["skipped"]
    assert (skipped["name"], skipped["field"]) == ("5.mat", field)
    assert reason in skipped["reason"]


def test_damage_anywhere_in_a_file_never_stops_the_others(tmp_path, beside_good_ones, cjdata):
    content = bytearray(cjdata())
    folder = beside_good_ones(bytes(content))
    rng = np.random.default_rng(0)
    for number in range(100, 180):
        damaged = bytearray(content)
        for place in rng.integers(512, len(content), 30):
            damaged[place] = rng.integers(256)
        (folder / f"{number}.mat").write_bytes(damaged)
    datalist = prepare(folder, tmp_path / "out", workers=2)
    assert {"1", "5", "9"} <= set(kept(datalist))
    assert len(kept(datalist)) + len(datalist["skipped"]) == 83


def test_empty_variables_of_matlab_are_empty(tmp_path, beside_good_ones, matlab_file, cjdata):
    def write(file):
        struct = file.create_group("cjdata")
        struct["PID"] = np.array([[49]], np.uint16)
        struct["label"] = np.array([[1.0]])
        struct["image"] = np.array([0, 0], np.uint64)  # as MATLAB writes an empty matrix: its size, and a mark
        struct["image"].attrs["MATLAB_empty"] = np.uint8(1)

    datalist = prepare(beside_good_ones(matlab_file(write)), tmp_path / "out")
    assert datalist["skipped"] == [{"name": "5.mat", "field": "cjdata/image", "reason": "is empty"}]


def test_an_empty_mask_keeps_the_slice_and_says_so(tmp_path, beside_good_ones, cjdata, picture_of_a_blob):
    folder = beside_good_ones(cjdata(picture_of_a_blob()[0], np.zeros((64, 64))))
    datalist = prepare(folder, tmp_path / "out")
    assert kept(datalist) == ["1", "5", "9"]
    assert ["mask" in entry for entry in datalist["test"]] == [True, False, True]
    assert datalist["counts"]["remark_groups"][0]["reason"] == "is empty: the slice is kept, without a mask"


def test_a_mask_too_small_for_the_store_keeps_the_slice_and_says_so(tmp_path, beside_good_ones, cjdata):
    image, mask = np.arange(65536).reshape(256, 256), np.zeros((256, 256))
    mask[9, 9] = 1
    datalist = prepare(beside_good_ones(cjdata(image, mask)), tmp_path / "out")
    assert ["mask" in entry for entry in datalist["test"]] == [True, False, True]
    assert datalist["counts"]["remark_groups"][0]["reason"].startswith("vanishes at the stored size")


# files that point elsewhere, or ask for too much


def links(file, kind, tmp_path):
    """A whole slice, but its image is elsewhere."""
    struct = file["cjdata"]
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as other:
        other["image"] = np.arange(4096).reshape(64, 64)
    if kind == "external link":
        struct["image"] = h5py.ExternalLink(str(secret), "/image")
    elif kind == "soft link":
        struct["image"] = h5py.SoftLink("/elsewhere")
        file["elsewhere"] = np.arange(4096).reshape(64, 64)
    elif kind == "external storage":
        raw = tmp_path / "secret.raw"
        raw.write_bytes(bytes(range(256)) * 16)
        struct.create_dataset("image", (64, 64), np.uint8, external=[(str(raw), 0, 4096)])
    elif kind == "virtual":
        layout = h5py.VirtualLayout((64, 64), np.int64)
        layout[:] = h5py.VirtualSource(str(secret), "image", (64, 64))
        struct.create_virtual_dataset("image", layout)
    elif kind == "huge":
        struct.create_dataset("image", (100_000, 100_000), np.int16, chunks=(10, 10))
    elif kind == "huge chunk":
        struct.create_dataset("image", (64, 64), np.int16, chunks=(20_000, 20_000), maxshape=(None, None))
    elif kind == "other filter":
        struct.create_dataset("image", data=np.arange(4096).reshape(64, 64), compression="lzf")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("external link", "is refused: it is a soft or external link"),
        ("soft link", "is refused: it is a soft or external link"),
        ("external storage", "is refused: its data lie in another file"),
        ("virtual", "is refused: its data lie in another file"),
        ("huge", "has 100000 x 100000 elements, more than the 67,108,864 allowed"),
        ("huge chunk", "is refused: chunks of (20000, 20000) elements"),
        ("other filter", "is refused: HDF5 filters [32000]"),
    ],
)
def test_hdf5_that_points_out_of_the_file_or_asks_for_too_much_is_refused(
    tmp_path, beside_good_ones, matlab_file, kind, reason
):
    def write(file):
        struct = file.create_group("cjdata")
        struct["PID"] = np.array([[49]], np.uint16)
        struct["label"] = np.array([[1.0]])
        links(file, kind, tmp_path)

    datalist = prepare(beside_good_ones(matlab_file(write)), tmp_path / "out")
    assert kept(datalist) == ["1", "9"]
    (skipped,) = datalist["skipped"]
    assert (skipped["name"], skipped["field"]) == ("5.mat", "cjdata/image")
    assert reason in skipped["reason"]


def test_the_struct_itself_may_be_no_link(tmp_path, beside_good_ones, matlab_file):
    datalist = prepare(
        beside_good_ones(matlab_file(lambda file: file.__setitem__("cjdata", h5py.ExternalLink("x.h5", "/")))),
        tmp_path / "out",
    )
    assert datalist["skipped"][0]["field"] == "cjdata"


# slices that are sound by themselves


def test_the_first_of_two_slices_with_one_id_is_kept(tmp_path, twelve_slices):
    for folder, name, content in (("a", "1.mat", "1.mat"), ("b", "1.mat", "2.mat"), ("b", "3.mat", "3.mat")):
        (tmp_path / "in" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / folder / name).write_bytes(twelve_slices[content])
    datalist = prepare(tmp_path / "in", tmp_path / "out")
    assert [entry["source"] for entry in datalist["test"]] == ["a/1.mat", "b/3.mat"]
    reason = "is '1', as that of a/1.mat, which is kept"
    assert datalist["skipped"] == [{"name": "b/1.mat", "field": "id", "reason": reason}]
    assert np.load(tmp_path / "out" / "images.npy", mmap_mode="r").shape[0] == 2
    with pytest.raises(BadSliceError, match=r"b/1\.mat: id is '1'"):
        prepare(tmp_path / "in", tmp_path / "strict", strict=True)


def test_all_slices_of_a_patient_with_two_labels_are_left_out(tmp_path, cjdata, picture_of_a_blob):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, (pid, label) in enumerate([("A", 1), ("B", 1), ("A", 2), ("A", 1), ("C", 3)], start=1):
        image, mask = picture_of_a_blob(seed=number)
        (folder / f"{number}.mat").write_bytes(cjdata(image, mask, label=label, pid=pid))
    datalist = prepare(folder, tmp_path / "out")
    assert kept(datalist) == ["2", "5"]
    assert [entry["name"] for entry in datalist["skipped"]] == ["1.mat", "3.mat", "4.mat"]
    reason = "of patient 'A' is not one but 2 (meningioma in 2, glioma in 1): all slices are left out"
    assert {entry["reason"] for entry in datalist["skipped"]} == {reason}
    with pytest.raises(BadSliceError, match=r"1\.mat: label of patient 'A'"):
        prepare(folder, tmp_path / "strict", strict=True)


def test_a_source_without_a_single_good_slice_says_why(tmp_path, cjdata):
    (tmp_path / "5.mat").write_bytes(cjdata(label=9))
    with pytest.raises(BadSourceError, match=r"no slice can be used: 5\.mat: cjdata/label is 9"):
        prepare(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "datalist.json").exists()


# archives


def refused_archive(folder, tmp_path, name="brainTumorDataPublic_1766.zip", **options):
    """Prepares, checks that only the slices of this archive are missing, and gives what is said of it."""
    datalist = prepare(folder, tmp_path / "out", **options)
    assert kept(datalist) == [str(n) for n in range(4, 13)]
    (skipped,) = datalist["skipped"]
    assert skipped["name"] == name
    with pytest.raises(BadSliceError, match=name):
        prepare(folder, tmp_path / "strict", strict=True, **options)
    return skipped["reason"]


def test_a_truncated_archive_is_reported_and_the_others_are_read(four_archives, tmp_path):
    archive = four_archives / "brainTumorDataPublic_1766.zip"
    archive.write_bytes(truncated(archive.read_bytes()))
    assert "is truncated or damaged" in refused_archive(four_archives, tmp_path)


def test_an_archive_that_is_something_else_is_reported(four_archives, tmp_path):
    (four_archives / "brainTumorDataPublic_1766.zip").write_bytes(b"<html>not found</html>")
    assert "is not a zip archive" in refused_archive(four_archives, tmp_path)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("../evil.mat", "climbs out of the archive with '..'"),
        ("a/../../evil.mat", "climbs out of the archive with '..'"),
        ("..\\evil.mat", "climbs out of the archive with '..'"),
        ("/etc/evil.mat", "has an absolute path"),
        ("C:\\evil.mat", "has an absolute path"),
        ("evil\x1b[31m.mat", "has unprintable characters"),
    ],
)
def test_an_unsafe_name_refuses_the_whole_archive_and_writes_nothing(four_archives, tmp_path, cjdata, member, reason):
    with zipfile.ZipFile(four_archives / "brainTumorDataPublic_1766.zip", "a") as archive:
        archive.writestr(member, cjdata())
    before = sorted(path for path in tmp_path.rglob("*") if "evil" in path.name)
    said = refused_archive(four_archives, tmp_path)
    assert reason in said
    assert repr(member) in said
    assert sorted(path for path in tmp_path.rglob("*") if "evil" in path.name) == before == []


def test_a_link_in_an_archive_refuses_it(four_archives, tmp_path):
    info = zipfile.ZipInfo("99.mat")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(four_archives / "brainTumorDataPublic_1766.zip", "a") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "member '99.mat' is a link or a special file" in refused_archive(four_archives, tmp_path)


def with_member(folder, name, content, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(folder / "brainTumorDataPublic_1766.zip", "a", compression) as archive:
        archive.writestr(name, content)


def one_bad_member(folder, tmp_path, **options):
    datalist = prepare(folder, tmp_path / "out", **options)
    assert len(kept(datalist)) == 12
    (skipped,) = datalist["skipped"]
    assert skipped["name"] == "brainTumorDataPublic_1766.zip/99.mat"
    return skipped["reason"]


def test_a_member_out_of_all_proportion_is_not_unpacked(four_archives, tmp_path):
    with_member(four_archives, "99.mat", bytes(8 << 20))
    assert "times its size, allowed are 200 times" in one_bad_member(four_archives, tmp_path)


def test_a_member_that_declares_too_much_is_not_unpacked(four_archives, tmp_path):
    with_member(four_archives, "99.mat", os.urandom(3 << 20))
    reason = one_bad_member(four_archives, tmp_path, limits=ReadLimits(member_bytes=1 << 20))
    assert reason == "would unpack to 3,145,728 bytes, allowed are 1,048,576"


def patch_entry(path, name, local, central):
    """Overwrite fields of a member's two headers: offset in the header and value, 4 bytes each."""
    content = bytearray(path.read_bytes())
    for signature, name_at, fields in ((b"PK\3\4", 30, local), (b"PK\1\2", 46, central)):
        at = content.find(signature)
        while content[at + name_at : at + name_at + len(name)] != name.encode():
            at = content.find(signature, at + 1)
        for offset, form, value in fields:
            struct.pack_into(form, content, at + offset, value)
    path.write_bytes(content)


def test_a_bomb_that_declares_little_is_stopped_at_what_it_declares(four_archives, tmp_path):
    with_member(four_archives, "99.mat", bytes(100 << 20))
    archive = four_archives / "brainTumorDataPublic_1766.zip"
    patch_entry(archive, "99.mat", [(22, "<I", 1000)], [(24, "<I", 1000)])
    assert "is damaged: Bad CRC-32" in one_bad_member(four_archives, tmp_path)


def test_an_encrypted_member_is_reported(four_archives, tmp_path, cjdata):
    with_member(four_archives, "99.mat", cjdata())
    archive = four_archives / "brainTumorDataPublic_1766.zip"
    patch_entry(archive, "99.mat", [(6, "<H", 1)], [(8, "<H", 1)])
    assert "is encrypted" in one_bad_member(four_archives, tmp_path)


def test_a_damaged_member_is_reported(four_archives, tmp_path, cjdata):
    with_member(four_archives, "99.mat", cjdata(), zipfile.ZIP_STORED)
    archive = four_archives / "brainTumorDataPublic_1766.zip"
    patch_entry(archive, "99.mat", [], [(16, "<I", 12345)])
    assert "is damaged: Bad CRC-32" in one_bad_member(four_archives, tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_compress_are_not_read(four_archives, tmp_path, cjdata, method):
    with_member(four_archives, "99.mat", cjdata(), method)
    assert f"zip method {method}, allowed are stored (0) and deflated (8)" in one_bad_member(four_archives, tmp_path)


def test_members_that_overlap_make_a_bomb(four_archives, tmp_path, cjdata):
    archive = four_archives / "brainTumorDataPublic_1766.zip"
    content = os.urandom(1 << 20)
    with_member(four_archives, "98.mat", content, zipfile.ZIP_STORED)
    with_member(four_archives, "99.mat", content, zipfile.ZIP_STORED)
    with zipfile.ZipFile(archive) as file:
        place = file.getinfo("98.mat").header_offset
    patch_entry(archive, "99.mat", [], [(42, "<I", place)])
    with zipfile.ZipFile(archive, "a") as file:
        for number in (98, 99):  # a directory of many entries that share the same bytes
            file.filelist += [file.getinfo(f"{number}.mat")] * 4
        file.writestr("97.mat", b"")
    assert "is a bomb: its members overlap" in refused_archive(four_archives, tmp_path)


def test_too_many_members_refuse_an_archive(four_archives, tmp_path, write_zip):
    write_zip(four_archives / "brainTumorDataPublic_1766.zip", {f"{n}.mat": b"x" for n in range(50)})
    assert "has 50 members, allowed are 40" in refused_archive(four_archives, tmp_path, limits=ReadLimits(members=40))


def test_archives_nest_once_and_no_deeper(four_archives, tmp_path, write_zip, twelve_slices):
    deepest = write_zip(tmp_path / "deepest.zip", {"50.mat": twelve_slices["1.mat"]}).read_bytes()
    with_member(four_archives, "more.zip", deepest, zipfile.ZIP_STORED)
    members = {path.name: path.read_bytes() for path in four_archives.iterdir()}
    outer = write_zip(tmp_path / "1512427.zip", members)
    datalist = prepare(outer, tmp_path / "out")
    assert len(kept(datalist)) == 12
    (skipped,) = datalist["skipped"]
    assert skipped["name"] == "1512427.zip/brainTumorDataPublic_1766.zip/more.zip"
    assert skipped["reason"] == "not opened: an archive in an archive in an archive"


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_inner_archive_is_reported_and_the_others_are_read(four_archives, tmp_path, write_zip, compression):
    members = {path.name: path.read_bytes() for path in sorted(four_archives.iterdir())}
    members["brainTumorDataPublic_1766.zip"] = truncated(members["brainTumorDataPublic_1766.zip"])
    outer = write_zip(tmp_path / "1512427.zip", members, compression)
    reason = refused_archive(outer, tmp_path, "1512427.zip/brainTumorDataPublic_1766.zip")
    assert "is truncated or damaged" in reason


def test_an_inner_archive_that_is_a_bomb_is_not_copied(four_archives, tmp_path, write_zip):
    members = {path.name: path.read_bytes() for path in sorted(four_archives.iterdir())}
    members["brainTumorDataPublic_1766.zip"] = bytes(50 << 20)
    outer = write_zip(tmp_path / "1512427.zip", members, zipfile.ZIP_DEFLATED)
    reason = refused_archive(outer, tmp_path, "1512427.zip/brainTumorDataPublic_1766.zip")
    assert "times its size, allowed are 200 times" in reason


def test_an_inner_archive_is_bounded_by_its_window(four_archives, tmp_path, write_zip):
    """A stored inner archive whose directory points behind its end reaches no byte of the outer file."""
    members = {path.name: path.read_bytes() for path in sorted(four_archives.iterdir())}
    outer = write_zip(tmp_path / "1512427.zip", members)
    with zipfile.ZipFile(outer) as file:
        end = file.getinfo("brainTumorDataPublic_1766.zip").file_size
    patch_entry(outer, "brainTumorDataPublic_1766.zip", [], [(20, "<I", end - 10), (24, "<I", end - 10)])
    reason = refused_archive(outer, tmp_path, "1512427.zip/brainTumorDataPublic_1766.zip")
    assert "is truncated or damaged" in reason


def test_an_inner_archive_that_is_not_where_the_directory_says_is_reported(four_archives, tmp_path, write_zip):
    members = {path.name: path.read_bytes() for path in sorted(four_archives.iterdir())}
    outer = write_zip(tmp_path / "1512427.zip", members)
    patch_entry(outer, "brainTumorDataPublic_1766.zip", [(0, "<I", 0)], [])
    reason = refused_archive(outer, tmp_path, "1512427.zip/brainTumorDataPublic_1766.zip")
    assert reason == "is damaged: its header is not where the directory says"


def test_an_inner_archive_may_not_reach_beyond_the_outer_one(four_archives, tmp_path, write_zip):
    members = {path.name: path.read_bytes() for path in sorted(four_archives.iterdir())}
    members = {name: members[name] for name in sorted(members, key=lambda name: "1766" in name)}  # it comes last
    outer = write_zip(tmp_path / "1512427.zip", members)
    patch_entry(outer, "brainTumorDataPublic_1766.zip", [], [(24, "<I", 1_000_000)])
    reason = refused_archive(outer, tmp_path, "1512427.zip/brainTumorDataPublic_1766.zip")
    assert "damaged" in reason


# pictures


@pytest.mark.parametrize("change", [truncated, lambda content: b"GIF89a" + content, lambda content: b""])
def test_a_bad_picture_is_reported_and_the_others_are_kept(tmp_path, picture_of_a_blob, change):
    from PIL import Image

    folder = tmp_path / "pictures" / "glioma"
    folder.mkdir(parents=True)
    for name in ("a.png", "b.png", "c.jpg"):
        Image.fromarray((picture_of_a_blob()[0] // 10).astype(np.uint8)).save(folder / name)
    (folder / "b.png").write_bytes(change((folder / "b.png").read_bytes()))
    datalist = prepare(tmp_path / "pictures", tmp_path / "out")
    assert kept(datalist) == ["glioma/a.png", "glioma/c.jpg"]
    assert [entry["name"] for entry in datalist["skipped"]] == ["glioma/b.png"]


def test_a_picture_that_declares_too_many_pixels_is_not_decoded(tmp_path):
    from PIL import Image

    (tmp_path / "glioma").mkdir()
    Image.new("1", (9000, 9000)).save(tmp_path / "glioma" / "a.png")
    Image.new("1", (20000, 20000)).save(tmp_path / "glioma" / "b.png")
    with pytest.raises(BadSourceError, match="has 9000 x 9000 pixels, at most 8192 on a side are allowed"):
        prepare(tmp_path, tmp_path / "out")
