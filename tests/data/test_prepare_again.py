"""Again, interrupted, on a full disk, by more processes: the dataset folder is the same bytes in the end."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kdmri_monai.data.errors import BadSliceError, BadSourceError
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.data.store import RowFile, StoreWriteError, npy_header

FILES = ("images.npy", "masks.npy", "borders.json", "datalist.json", ".prepare/records.jsonl")
SCRIPT = """
import resource, sys
from pathlib import Path
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
source, out, workers, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
options = PrepareOptions(store_size=64, workers=int(workers))
prepare_dataset(Path(source), Path(out), options, SplitOptions(external=True), progress=False)
"""


def prepare(source, out, split=None, **options):
    options = {"store_size": 64, "workers": 1, **options}
    split = split or SplitOptions(external=True)
    return prepare_dataset(source, out, PrepareOptions(**options), split, progress=False)


def contents(out):
    return {name: (out / name).read_bytes() for name in FILES}


def start(source, out, workers=2, limit=0):
    """The preparation in a process, and a process group, of its own."""
    command = [sys.executable, "-c", SCRIPT, str(source), str(out), str(workers), str(limit)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where pytest runs in the background
    try:
        return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)


def journal_lines(out):
    path = out / ".prepare" / "records.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


@pytest.fixture(scope="module")
def long_source(tmp_path_factory, cjdata, write_zip):
    """300 slices that take a while to read, one of them bad, in two archives."""
    image = np.random.default_rng(0).integers(0, 4000, (320, 320)).astype(np.int16)
    mask = np.zeros((320, 320), bool)
    mask[40:80, 100:180] = True
    kinds = [cjdata(np.roll(image, k, 0), mask if k % 2 else ..., label=k + 1, pid=f"P{k}") for k in range(3)]
    folder = tmp_path_factory.mktemp("long")
    members = {f"{n}.mat": kinds[n % 3] for n in range(300)}
    members["7.mat"] = b"bad"
    names = list(members)
    write_zip(folder / "a.zip", {name: members[name] for name in names[:150]})
    write_zip(folder / "b.zip", {name: members[name] for name in names[150:]})
    return folder


@pytest.fixture(scope="module")
def uninterrupted(long_source, tmp_path_factory):
    out = tmp_path_factory.mktemp("reference")
    prepare(long_source, out)
    return contents(out)


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_no_byte(long_source, uninterrupted, tmp_path, workers):
    assert prepare(long_source, tmp_path / "out", workers=workers).action == "prepared"
    assert contents(tmp_path / "out") == uninterrupted


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_preparation_goes_on_to_the_same_bytes(long_source, uninterrupted, tmp_path, how):
    out = tmp_path / "out"
    process = start(long_source, out)
    wait_for(lambda: journal_lines(out) > 20)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: parent and workers alike
    else:
        process.send_signal(how)
    _, error = process.communicate(timeout=20)  # ends when no worker holds the pipe any more: none was left behind
    assert process.returncode != 0
    assert how != signal.SIGINT or error.count("Traceback") == 1  # the parent's alone
    done = journal_lines(out)
    assert 20 < done < 300
    assert not (out / "datalist.json").exists()
    result = prepare(long_source, out, workers=2)
    assert result.action == "resumed"
    assert contents(out) == uninterrupted


def test_half_a_row_half_a_line_and_lost_pixels_are_done_again(long_source, uninterrupted, tmp_path):
    out = tmp_path / "out"
    process = start(long_source, out)
    wait_for(lambda: journal_lines(out) > 60)
    process.kill()
    process.communicate()
    images, journal = out / ".prepare" / "images.npy.part", out / ".prepare" / "records.jsonl"
    with images.open("ab") as file:
        file.write(b"half a row")
    with journal.open("ab") as file:
        file.write(b'{"item":61,"slices":[{"id"')
    with images.open("r+b") as file:  # what a power failure does: the journal is there, the pixels are not
        file.seek(128 + 30 * 64 * 64)
        file.write(bytes(64 * 64))
    assert prepare(long_source, out).action == "resumed"
    assert contents(out) == uninterrupted


def test_lost_mask_pixels_are_done_again(long_source, uninterrupted, tmp_path):
    out = tmp_path / "out"
    process = start(long_source, out)
    wait_for(lambda: journal_lines(out) > 60)
    process.kill()
    process.communicate()
    masks = out / ".prepare" / "masks.npy.part"
    masks.write_bytes(bytes(masks.stat().st_size))
    assert prepare(long_source, out).action == "resumed"
    assert contents(out) == uninterrupted


@pytest.mark.parametrize("moved", [[], ["masks.npy"], ["masks.npy", "images.npy"]])
def test_an_end_between_the_last_steps_is_made_good(long_source, uninterrupted, tmp_path, moved):
    """The journal is complete, the store is moved in part, the datalist is not written."""
    out = tmp_path / "out"
    prepare(long_source, out)
    (out / "datalist.json").unlink()
    (out / "borders.json").unlink()
    for name in {"images.npy", "masks.npy"} - set(moved):
        (out / name).rename(out / ".prepare" / f"{name}.part")
    assert prepare(long_source, out).action == "split again"  # nothing is read a second time
    assert contents(out) == uninterrupted


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_told_and_the_rest_is_done_later(long_source, uninterrupted, tmp_path, workers):
    out = tmp_path / "out"
    process = start(long_source, out, workers, limit=128 + 100 * 64 * 64 + 1000)  # the 101st row does not fit
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    last = error.strip().splitlines()[-1]
    assert last.startswith("kdmri_monai.data.store.StoreWriteError: ")
    assert str(out / ".prepare" / "images.npy.part") in last
    assert "File too large" in last
    assert "199 files left; 100 slices are kept" in last  # 300 files, one of them bad, 100 rows
    assert not (out / "datalist.json").exists()
    assert prepare(long_source, out).action == "resumed"
    assert contents(out) == uninterrupted


def test_a_full_disk_under_a_copied_archive_is_told_and_the_copy_is_removed(long_source, tmp_path):
    with zipfile.ZipFile(tmp_path / "outer.zip", "w", zipfile.ZIP_DEFLATED) as outer:
        for path in sorted(long_source.iterdir()):
            outer.write(path, path.name)
    out = tmp_path / "out"
    process = start(tmp_path / "outer.zip", out, limit=1 << 20)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    last = error.strip().splitlines()[-1]
    assert str(out / ".prepare" / "scratch") in last
    assert "File too large" in last
    assert not (out / ".prepare" / "scratch").exists()
    result = prepare(tmp_path / "outer.zip", out)
    assert result.counts["slices"] == 299


def test_a_full_disk_under_the_journal_is_told_too(long_source, uninterrupted, tmp_path, monkeypatch):
    real = os.write
    left = [20_000]

    def write(descriptor, data):
        left[0] -= len(data)
        if left[0] < 0:
            if left[0] > -len(data):
                real(descriptor, bytes(data)[: len(data) // 2])  # half a line is on the disk
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(StoreWriteError, match=r"records\.jsonl: cannot be written: No space left on device"):
            prepare(long_source, tmp_path / "out")
    assert prepare(long_source, tmp_path / "out").action == "resumed"
    assert contents(tmp_path / "out") == uninterrupted


# again


def times(out):
    return {name: (out / name).stat().st_mtime_ns for name in FILES}


def test_a_second_time_nothing_is_done(four_archives, tmp_path):
    out = tmp_path / "out"
    first = prepare(four_archives, out)
    before = times(out)
    second = prepare(four_archives, out, workers=2)
    assert (first.action, second.action) == ("prepared", "nothing to do")
    assert second.datalist == first.datalist
    assert times(out) == before


def test_another_split_rewrites_the_datalist_only(four_archives, tmp_path):
    out = tmp_path / "out"
    prepare(four_archives, out)
    before = times(out)
    result = prepare(four_archives, out, split=SplitOptions(folds=2, validation=0))
    assert result.action == "split again"
    assert (result.datalist["numTraining"], result.datalist["numTest"]) == (6, 6)
    changed = {name for name, when in times(out).items() if when != before[name]}
    assert "datalist.json" in changed
    assert changed <= {"datalist.json", "borders.json"}
    fresh = prepare(four_archives, tmp_path / "fresh", split=SplitOptions(folds=2, validation=0))
    assert fresh.datalist == result.datalist


def test_a_published_fold_file_counts_by_its_content(four_archives, tmp_path, matlab_file):
    folds = tmp_path / "cvind.mat"

    def save(values):
        folds.write_bytes(matlab_file(lambda file: file.create_dataset("cvind", data=np.array([values], float).T)))

    save([1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    split = SplitOptions(folds=2, folds_file=folds, validation=0)
    assert prepare(four_archives, tmp_path / "out", split=split).datalist["numTest"] == 6
    assert prepare(four_archives, tmp_path / "out", split=split).action == "nothing to do"
    save([1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    again = prepare(four_archives, tmp_path / "out", split=split)
    assert (again.action, again.datalist["numTest"]) == ("split again", 2)


@pytest.mark.parametrize("change", ["source", "time", "size", "pattern", "partial"])
def test_a_folder_of_other_content_is_not_touched_unless_told(four_archives, tmp_path, twelve_slices, change):
    out = tmp_path / "out"
    prepare(four_archives, out)
    if change == "partial":  # an unfinished one is as much in the way
        (out / "datalist.json").unlink()
        (out / "images.npy").unlink()
    before = {name: (out / name).read_bytes() for name in FILES if (out / name).exists()}
    source, options = four_archives, {}
    if change in ("source", "partial"):
        source = tmp_path / "other"
        source.mkdir()
        (source / "1.mat").write_bytes(twelve_slices["1.mat"])
    elif change == "time":
        os.utime(four_archives / "brainTumorDataPublic_1766.zip", (1, 1))
    elif change == "size":
        options = {"store_size": 32}
    else:
        options = {"patient_pattern": "x"}
    with pytest.raises(BadSourceError, match=r"out: was prepared from another source or with other options"):
        prepare(source, out, **options)
    assert {name: (out / name).read_bytes() for name in FILES if (out / name).exists()} == before
    result = prepare(source, out, overwrite=True, **options)
    assert result.action == "prepared"
    fresh = prepare(source, tmp_path / "fresh", **options)
    assert contents(out) == contents(tmp_path / "fresh")
    assert fresh.datalist == result.datalist


@pytest.mark.parametrize("name", ["images.npy", "masks.npy"])
def test_a_damaged_store_is_noticed_and_made_again_when_told(four_archives, tmp_path, name):
    out = tmp_path / "out"
    prepare(four_archives, out)
    before = contents(out)
    (out / name).write_bytes((out / name).read_bytes()[:-1])
    with pytest.raises(BadSourceError, match=rf"out: {name} is gone or damaged; choose another folder, or overwrite"):
        prepare(four_archives, out)
    assert prepare(four_archives, out, overwrite=True).action == "prepared"
    assert contents(out) == before


def test_a_folder_that_someone_else_filled_is_not_touched(four_archives, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "images.npy").write_bytes(b"mine")
    with pytest.raises(BadSourceError, match="was filled by other means"):
        prepare(four_archives, tmp_path / "out")
    assert (tmp_path / "out" / "images.npy").read_bytes() == b"mine"


def test_two_preparations_of_one_folder_do_not_meet(long_source, uninterrupted, tmp_path):
    out = tmp_path / "out"
    process = start(long_source, out)
    wait_for(lambda: journal_lines(out) > 2)
    with pytest.raises(BadSourceError, match="another preparation is writing to this folder"):
        prepare(long_source, out)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert contents(out) == uninterrupted


def test_strict_stops_where_a_forgiving_run_reported_and_the_latter_goes_on(long_source, uninterrupted, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(BadSliceError, match=r"a\.zip/7\.mat: file is not HDF5"):
        prepare(long_source, out, strict=True)
    assert prepare(long_source, out).action == "resumed"
    assert contents(out) == uninterrupted
    with pytest.raises(BadSliceError, match=r"a\.zip/7\.mat: file is not HDF5"):
        prepare(long_source, out, strict=True)


# what is written


def test_the_folder_is_read_by_numpy_and_json_alone(four_archives, tmp_path):
    datalist = prepare(four_archives, tmp_path).datalist
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert (images.dtype, images.shape, images.flags.c_contiguous) == (np.uint8, (12, 64, 64), True)
    assert json.loads((tmp_path / "datalist.json").read_text()) == datalist
    for entry in datalist["test"]:
        row = images[int(entry["image"].split("#")[1])]
        assert hashlib.sha256(row.tobytes()).hexdigest() == entry["sha256"]
    assert datalist["preparation"]["store_size"] == 64
    assert len(datalist["preparation"]["fingerprint"]) == 64


def test_headers_are_those_that_numpy_reads_at_any_length(tmp_path):
    for rows, size in ((0, 16), (7, 256), (10**15, 1024)):
        header = npy_header(rows, size)
        assert len(header) == 128
        with (tmp_path / "a.npy").open("w+b") as file:
            file.write(header)
            file.seek(0)
            assert np.lib.format.read_magic(file) == (1, 0)
            assert np.lib.format.read_array_header_1_0(file) == ((rows, size, size), False, np.dtype("uint8"))
            assert file.tell() == 128


def test_a_row_of_another_size_is_refused(tmp_path):
    rows = RowFile(tmp_path / "x", 16)
    with pytest.raises(ValueError, match="has 256 bytes, got 255"):
        rows.write(0, bytes(255))
    rows.close()


def test_a_progress_bar_is_shown_and_can_be_silenced(four_archives, tmp_path, capfd):
    options, split = PrepareOptions(workers=1), SplitOptions(external=True)
    prepare_dataset(four_archives, tmp_path / "quiet", options, split, progress=False)
    assert capfd.readouterr() == ("", "")
    prepare_dataset(four_archives, tmp_path / "loud", options, split)
    out, error = capfd.readouterr()
    assert out == ""
    assert "12/12" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [({"store_size": 8}, "store_size must be 16..1024 pixels, got 8"), ({"workers": 0}, "at least 1, got 0")],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PrepareOptions(**options)


def test_by_default_there_is_a_worker_a_processor_within_the_memory():
    count = PrepareOptions().worker_count()
    assert count == min(len(os.sched_getaffinity(0)), 14)
    assert PrepareOptions(workers=50).worker_count() == 50


def test_an_unwritable_folder_is_named(four_archives, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OSError, match="out"):
        prepare(four_archives, tmp_path / "out")
    assert Path(tmp_path / "out").read_text() == "a file"
