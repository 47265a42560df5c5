"""Fold files in every form that is read, written here by h5py, SciPy and the author's own script."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from kdmri_monai.data.errors import BadSourceError
from kdmri_monai.data.published_folds import crossing_families, read_published_folds

FIGSHARE = Path(__file__).resolve().parents[3] / "shared" / "figshare"
FOLDS = [3, 3, 1, 2, 1, 2, 3]
EXPECTED = {"1": 2, "2": 2, "3": 0, "4": 1, "5": 0, "6": 1, "7": 2}


def write_hdf5(path, values, name="cvind", userblock=512):
    with h5py.File(path, "w", userblock_size=userblock) as file:
        file.create_dataset(name, data=values)
    if userblock:
        with path.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM")
    return path


def write_text(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_hdf5(path, np.array([FOLDS], float)),
        lambda path: write_hdf5(path, np.array([FOLDS], float).T),
        lambda path: write_hdf5(path, np.array(FOLDS, np.uint8), userblock=0),
        lambda path: savemat(path, {"cvind": np.array([FOLDS], float), "other": 1}, appendmat=False) or path,
        lambda path: write_text(path, "3312123"),
        lambda path: write_text(path, "331\n212\n3\n"),
        lambda path: write_text(path, "id,fold\n" + "".join(f"{i},{f}\n" for i, f in enumerate(FOLDS, 1))),
        lambda path: write_text(
            path, "\ufeffid,plane,fold\r\n" + "".join(f"{i},a,{f}\r\n" for i, f in enumerate(FOLDS, 1))
        ),
    ],
    ids=["row", "column", "plain HDF5", "MATLAB 5", "digits", "lines of digits", "table", "table of a spreadsheet"],
)
def test_every_form_gives_the_same_folds_counted_from_zero(tmp_path, write):
    path = write(tmp_path / "folds")
    published = read_published_folds(path)
    assert published.fold == EXPECTED
    assert published.sizes == (2, 2, 3)
    assert published.name == "folds"
    assert published.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_ids_of_a_table_may_be_names(tmp_path):
    path = write_text(tmp_path / "folds.csv", "id,fold\nscan a,2\nscan b,1\n")
    assert read_published_folds(path).fold == {"scan a": 1, "scan b": 0}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: write_hdf5(path, np.array([[1.0, 1.5, 2.0]])), "fold of slice 2 is 1.5"),
        (lambda path: write_hdf5(path, np.array([[1.0, np.inf]])), "fold of slice 2 is inf"),
        (lambda path: write_hdf5(path, np.array([[1.0, np.nan]])), "fold of slice 2 is nan"),
        (lambda path: write_hdf5(path, np.array([[0.0, 1.0]])), "fold of slice 1 is 0"),
        (lambda path: write_hdf5(path, np.array([[1.0, 1e30]])), r"fold of slice 2 is 1e\+30"),
        (lambda path: write_hdf5(path, np.array([[1.0, 3.0, 3.0]])), r"folds are \[1, 3\]"),
        (lambda path: write_hdf5(path, np.ones((2, 2))), r"shape \(2, 2\)"),
        (lambda path: write_hdf5(path, np.ones((1, 0))), r"shape \(1, 0\)"),
        (lambda path: write_hdf5(path, np.array([b"a", b"b"])), "expected numbers"),
        (lambda path: write_hdf5(path, [[1.0]], name="folds"), "the array cvind cannot be read"),
        (lambda path: write_hdf5(path, [[1.0]], name="cvind/part"), "the array cvind cannot be read"),
        (lambda path: savemat(path, {"x": [[1.0]]}, appendmat=False) or path, "the array cvind cannot be read"),
        (lambda path: write_text(path, b"MATLAB 7.3 MAT-file" + bytes(600)), "the array cvind cannot be read"),
        (lambda path: write_text(path, b"MATLAB 5.0 MAT-file" + bytes(50)), "the array cvind cannot be read"),
        (lambda path: write_text(path, b"\xff\xd8\xff\xe0"), "neither a MATLAB file nor text"),
        (lambda path: write_text(path, ""), "expected cvind, digits only, or a table"),
        (lambda path: write_text(path, "120"), "fold of slice 3 is 0"),
        (lambda path: write_text(path, "name,fold\na,1\n"), "expected cvind, digits only, or a table"),
        (lambda path: write_text(path, "id,fold\n"), "the table has no rows"),
        (lambda path: write_text(path, "id,fold\na,1\na,2\n"), "line 3: id 'a' is empty or there twice"),
        (lambda path: write_text(path, "id,fold\na,1\n,2\n"), "line 3: id '' is empty"),
        (lambda path: write_text(path, "id,fold\na,one\n"), "line 2: fold is 'one'"),
        (lambda path: write_text(path, "id,fold\na\n"), "line 2: fold is ''"),
        (lambda path: write_text(path, "id,fold\na,\u00b2\n"), "line 2: fold is '\u00b2'"),
    ],
)
def test_a_broken_fold_file_is_refused_with_its_name_and_fault(tmp_path, write, message):
    path = write(tmp_path / "broken")
    with pytest.raises(BadSourceError, match=message) as caught:
        read_published_folds(path)
    assert str(path) in str(caught.value)


def test_a_missing_fold_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.mat"):
        read_published_folds(tmp_path / "none.mat")


def test_a_truncated_matlab_file_is_refused(tmp_path):
    path = write_hdf5(tmp_path / "cvind.mat", np.array([FOLDS * 1000], float))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(BadSourceError, match=r"cvind\.mat: the array cvind cannot be read"):
        read_published_folds(path)


def test_crossing_families_are_those_with_slices_in_two_folds():
    rng = random.Random(0)
    slices = [(str(i), f"p{rng.randint(0, 60)}", "") for i in range(200)]
    slices = [(i, patient, f"f{int(patient[1:]) // 2}") for i, patient, _ in slices]
    fold = {i: rng.choice([0, 0, 0, 1]) if int(family[1:]) % 3 else 1 for i, _, family in slices}
    expected = {family for _, _, family in slices if len({fold[i] for i, _, other in slices if other == family}) > 1}
    assert 0 < len(expected) < 31
    assert crossing_families(fold, slices) == (
        {i for i, _, family in slices if family in expected},
        {patient for _, patient, family in slices if family in expected},
        expected,
    )


def test_the_matlab_file_and_the_digits_of_the_real_set_are_one_partition(tmp_path):
    if not (FIGSHARE / "build.py").is_file():
        pytest.skip(f"the real slices are not at {FIGSHARE}")
    command = [sys.executable, str(FIGSHARE / "build.py"), str(tmp_path), "--patients", "1"]
    subprocess.run(command, check=True, capture_output=True)
    matlab = read_published_folds(tmp_path / "cvind.mat")
    digits = read_published_folds(FIGSHARE / "folds.txt")
    assert matlab.fold == digits.fold
    assert matlab.sizes == digits.sizes == (570, 655, 562, 613, 664)
    assert matlab.sha256 != digits.sha256
