"""The phantom set on disk: laid out as published, the same bytes by seed, nothing else harmed."""

import io
import zipfile

import h5py
import numpy as np
import pytest

from kdmri_monai.data.phantom.archives import slice_mat, write_figshare
from kdmri_monai.data.phantom.patients import phantom_patient, write_phantoms
from kdmri_monai.data.records import RawSlice

SMALL = {"slices_per_patient": (2, 3), "size": 64, "progress": False}


def members(folder):
    content = {}
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            content.update({name: archive.read(name) for name in archive.namelist()})
    return content


def asymmetric():
    """A wide image with one bright corner, top right, and a mask of one row of three pixels there."""
    image, mask = np.zeros((6, 9), np.int16), np.zeros((6, 9), dtype=bool)
    image[0, 8], mask[1, 5:8] = 700, True
    border = np.array([[5.0, 1.0], [7.0, 1.0], [7.0, 1.5]])
    return RawSlice("12", image, 1, "MR012345B", "test", mask, border, "axial")


def test_the_folder_is_laid_out_as_published(tmp_path):
    summary = write_phantoms(tmp_path, 6, **SMALL)
    archives = {f"brainTumorDataPublic_{part}.zip" for part in ("1766", "7671532", "15332298", "22993064")}
    assert {path.name for path in tmp_path.iterdir()} == archives | {"cvind.mat", "README.txt"}
    assert sorted(members(tmp_path), key=lambda n: int(n[:-4])) == [f"{i}.mat" for i in range(1, summary.slices + 1)]
    with h5py.File(tmp_path / "cvind.mat") as file:
        assert file["cvind"].shape == (1, summary.slices)
        assert file["cvind"].dtype == np.float64
        folds = file["cvind"][0]
    with_patient = [raw.patient for k in range(6) for raw in phantom_patient(k, 0, False, (2, 3), 64)]
    assert len(set(zip(with_patient, folds, strict=True))) == 6
    assert set(folds) == {1.0, 2.0}
    assert "no patient data" in (tmp_path / "README.txt").read_text()


def test_a_member_is_a_matlab_struct_whose_upright_image_is_the_transpose():
    raw = asymmetric()
    content = slice_mat(raw)
    assert content.startswith(b"MATLAB 7.3 MAT-file")
    assert content[124:128] == b"\x00\x02IM"
    with h5py.File(io.BytesIO(content)) as file:
        struct = file["cjdata"]
        assert file.userblock_size == 512
        assert struct["image"].shape == (9, 6)
        assert struct["image"].dtype == np.int16
        assert struct["image"][8, 0] == 700
        assert struct["tumorMask"].dtype == np.uint8
        assert np.array_equal(np.argwhere(struct["tumorMask"][()]), [[5, 1], [6, 1], [7, 1]])
        assert struct["label"][()].tolist() == [[2.0]]
        assert struct["label"].dtype == np.float64
        assert struct["PID"].dtype == np.uint16
        assert "".join(chr(c) for c in struct["PID"][:, 0]) == "MR012345B"
        assert struct["tumorBorder"][()].tolist() == [[6.0, 2.0, 8.0, 2.0, 8.0, 2.5]]
        assert struct["image"].attrs["MATLAB_class"] == b"int16"
        assert struct.attrs["MATLAB_class"] == b"struct"


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_phantoms(tmp_path / name, 3, seed, **SMALL)
    content = {name: {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "abc"}
    assert content["a"] == content["b"]
    assert all(content["a"][name] != content["c"][name] for name in content["a"] if name.endswith(".zip"))


def test_a_patient_is_the_same_for_any_number_of_patients(tmp_path):
    few, more = tmp_path / "few", tmp_path / "more"
    write_phantoms(few, 3, **SMALL)
    write_phantoms(more, 7, **SMALL)
    found = members(more)
    assert all(found[name] == content for name, content in members(few).items())


def test_writing_again_replaces_an_older_set(tmp_path):
    write_phantoms(tmp_path, 6, **SMALL)
    write_phantoms(tmp_path, 3, **SMALL)
    write_phantoms(tmp_path / "new", 3, **SMALL)
    assert members(tmp_path) == members(tmp_path / "new")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match="holds something that was not written here"):
        write_phantoms(tmp_path, 3, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_number_of_slices_may_be_given_instead_of_a_range(tmp_path):
    assert write_phantoms(tmp_path, 3, **(SMALL | {"slices_per_patient": 4})).slices == 12


def test_slices_and_folds_must_be_as_many(tmp_path):
    with pytest.raises(ValueError, match="1 slices and 2 folds"):
        write_figshare(tmp_path, [asymmetric()], [1, 2], "Synthetic\n")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"patients": 2}, "at least 3 are needed"),
        ({"size": 32}, "allowed are 64..1024"),
        ({"seed": -1}, "allowed are 0 and above"),
        ({"slices_per_patient": (3, 2)}, "a range from at least 1"),
        ({"slices_per_patient": 0}, "a range from at least 1"),
    ],
)
def test_wrong_arguments_are_told(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        write_phantoms(tmp_path / "out", **({"patients": 3} | SMALL | wrong))
    assert not (tmp_path / "out").exists()
