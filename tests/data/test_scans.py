"""What a user has on a disk, one slice at a time: every format the same way up, findings for what cannot be used."""

import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from kdmri_monai.data.findings import Finding
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.pixels import store_image
from kdmri_monai.data.scans import ScanSlice, scan_slices


@pytest.fixture
def blob(picture_of_a_blob):
    """Brighter in the upper right, wider than high: no turn or mirror leaves it as it is."""
    return picture_of_a_blob()[0]


def read(*paths, **given):
    found = list(scan_slices(paths, **given))
    return [one for one in found if isinstance(one, ScanSlice)], [one for one in found if isinstance(one, Finding)]


def save_volume(path: Path, ras: np.ndarray, codes: str = "RAS", zooms=(1.0, 1.0, 1.0)) -> None:
    """A volume given along RAS axes, stored along others."""
    image = nib.Nifti1Image(ras, np.diag([*zooms, 1.0]))
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
    nib.save(image.as_reoriented(turn), path)


def standing(image: np.ndarray) -> np.ndarray:
    """A volume along RAS axes whose middle axial slice of three is the picture, patient's right on its left."""
    volume = np.random.default_rng(3).integers(0, 50, (image.shape[1], image.shape[0], 3)).astype(np.int16)
    volume[:, :, 1] = image[::-1, ::-1].T
    return volume


def test_a_blob_is_the_same_way_up_in_every_format(tmp_path, blob, cjdata):
    grey = np.clip(blob / 10, 0, 255).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey).save(tmp_path / "b.jpg", quality=95)
    (tmp_path / "c.mat").write_bytes(cjdata(blob))
    save_volume(tmp_path / "d.nii.gz", standing(blob), "LPS")
    slices, findings = read(tmp_path, slices=(1, 1))
    assert not findings
    assert [one.name for one in slices] == ["a.png", "b.jpg", "c.mat", "d.nii.gz slice 1"]
    assert [(one.index, one.plane) for one in slices] == [(None, None)] * 3 + [(1, "axial")]
    assert [Path(one.path).name for one in slices] == ["a.png", "b.jpg", "c.mat", "d.nii.gz"]
    for one in slices:
        rows, columns = np.nonzero(one.pixels > np.percentile(one.pixels, 96))
        assert (rows < 18).mean() > 0.9
        assert (columns >= 30).mean() > 0.9
    np.testing.assert_array_equal(slices[0].pixels, grey)
    np.testing.assert_array_equal(slices[2].pixels, blob)
    np.testing.assert_array_equal(slices[3].pixels, blob)


def test_a_mat_file_without_label_patient_and_mask_is_read(tmp_path, blob, cjdata):
    (tmp_path / "new.mat").write_bytes(cjdata(blob, mask=..., label=..., pid=..., border=...))
    slices, findings = read(tmp_path / "new.mat")
    assert not findings
    np.testing.assert_array_equal(slices[0].pixels, blob)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SPR"])
@pytest.mark.parametrize(("plane", "axis"), [("axial", 2), ("coronal", 1), ("sagittal", 0)])
def test_every_slice_of_a_volume_comes_along_the_plane(tmp_path, codes, plane, axis):
    head = np.random.default_rng(0).integers(1, 900, (9, 11, 7)).astype(np.int16)
    head[:, :, 5] = 4  # no foreground: kept all the same where it varies, told where it does not
    head[0, 0, 5] = 5
    save_volume(tmp_path / "head.nii", head, codes)
    slices, findings = read(tmp_path / "head.nii", plane=plane)
    assert not findings
    assert [one.index for one in slices] == list(range(head.shape[axis]))
    for one in slices:
        np.testing.assert_array_equal(one.pixels, head.take(one.index, axis)[::-1, ::-1].T)
        assert one.plane == plane


def test_the_range_of_slices_is_inclusive_and_cut_at_the_end(tmp_path):
    head = np.random.default_rng(0).integers(1, 900, (9, 11, 7)).astype(np.int16)
    save_volume(tmp_path / "head.nii", head)
    assert [one.index for one in read(tmp_path / "head.nii", slices=(2, 4))[0]] == [2, 3, 4]
    assert [one.index for one in read(tmp_path / "head.nii", slices=[5, 40])[0]] == [5, 6]
    slices, findings = read(tmp_path / "head.nii", slices=(7, 9))
    assert not slices
    assert findings[0].reason == "are 7, from 0; asked for are 7 to 9"


def test_pixels_of_a_volume_are_made_square_and_no_spacing_asks_for_too_much(tmp_path):
    head = np.random.default_rng(0).integers(1, 900, (9, 11, 7)).astype(np.float32)
    save_volume(tmp_path / "flat.nii", head, zooms=(1, 1, 3))
    assert {one.pixels.shape for one in read(tmp_path / "flat.nii", plane="coronal")[0]} == {(21, 9)}
    save_volume(tmp_path / "mad.nii", head, zooms=(1, 1, 2e4))
    slices, findings = read(tmp_path / "mad.nii", plane="coronal")
    assert not slices
    assert {one.field for one in findings} == {"voxels"}
    assert "would have 140000 x 9 square pixels" in findings[0].reason


def test_slices_that_no_network_should_see_are_told_one_by_one(tmp_path):
    head = np.random.default_rng(0).normal(100, 20, (9, 11, 4)).astype(np.float32)
    head[:, :, 1], head[3, 3, 2] = 7, np.nan
    save_volume(tmp_path / "head.nii.gz", head)
    slices, findings = read(tmp_path / "head.nii.gz")
    assert [one.index for one in slices] == [0, 3]
    path = tmp_path / "head.nii.gz"
    assert [(one.name, one.field) for one in findings] == [(f"{path} slice {k}", "voxels") for k in (1, 2)]
    assert "is constant" in findings[0].reason
    assert "NaN" in findings[1].reason


def test_bad_files_are_findings_and_the_others_are_read(tmp_path, blob, cjdata):
    folder = tmp_path / "scans"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(np.clip(blob / 10, 0, 255).astype(np.uint8)).save(folder / "deep" / "10.png")
    Image.fromarray(np.clip(blob / 10, 0, 255).astype(np.uint8)).save(folder / "deep" / "9.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    (folder / "broken.nii").write_bytes(b"0" * 400)
    (folder / "old.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(600))
    (folder / "image.mat").write_bytes(cjdata(image=..., mask=...))
    Image.fromarray(np.full((8, 8), 3, np.uint8)).save(folder / "flat.png")
    (folder / "notes.txt").write_text("hello")
    (folder / ".hidden.png").write_bytes(b"")
    slices, findings = read(folder, tmp_path / "absent.png", "gone.dcm")
    assert [one.name for one in slices] == ["deep/9.png", "deep/10.png"]
    told = {Path(one.name).name: (one.field, one.reason) for one in findings}
    assert told["broken.png"][0] == "pixels"
    assert told["broken.nii"][0] == "voxels"
    assert told["old.mat"] == ("file", "is not HDF5; a MATLAB v7.3 file is expected (save with '-v7.3')")
    assert told["image.mat"] == ("cjdata/image", "is missing")
    assert told["flat.png"] == ("pixels", "is constant: every pixel is 3")
    assert told["notes.txt"][1].startswith("is none of PNG, JPEG")
    assert told["absent.png"] == told["gone.dcm"] == ("file", "does not exist")
    assert ".hidden.png" not in told


def test_a_mask_beside_its_picture_is_no_scan(tmp_path, blob):
    picture = Image.fromarray(np.clip(blob / 10, 0, 255).astype(np.uint8))
    for name in ("1.png", "1_mask.png", "2_mask.png"):
        picture.save(tmp_path / name)
    slices, findings = read(tmp_path)
    assert [one.name for one in slices] == ["1.png", "2_mask.png"]
    assert [one.name for one in findings] == ["1_mask.png"]


def test_files_are_taken_in_the_order_that_they_are_named(tmp_path, blob):
    for name in ("b.png", "a.png"):
        Image.fromarray(np.clip(blob / 10, 0, 255).astype(np.uint8)).save(tmp_path / name)
    slices, _ = read(tmp_path / "b.png", tmp_path / "a.png")
    assert [Path(one.name).name for one in slices] == ["b.png", "a.png"]


def test_an_empty_folder_is_told(tmp_path):
    slices, findings = read(tmp_path)
    assert not slices
    assert "holds no files" in findings[0].reason


def test_limits_hold(tmp_path, blob, cjdata):
    Image.fromarray(np.clip(blob / 10, 0, 255).astype(np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.mat").write_bytes(cjdata(blob))
    save_volume(tmp_path / "c.nii", standing(blob))
    slices, findings = read(tmp_path, limits=ReadLimits(side=32))
    assert not slices
    assert len(findings) == 3
    slices, findings = read(tmp_path / "c.nii", limits=ReadLimits(volume_bytes=1000))
    assert "allowed are 1,000" in findings[0].reason


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"plane": "top"}, "allowed are axial, coronal"),
        ({"slices": (4, 2)}, "first and the last"),
        ({"slices": (3,)}, "first and the last"),
    ],
)
def test_a_plane_or_a_range_that_is_none_is_refused_at_once(given, said):
    with pytest.raises(ValueError, match=said):
        scan_slices([], **given)


def test_many_files_need_the_memory_of_one(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(60):
        Image.fromarray(rng.integers(0, 255, (256, 256), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    list(scan_slices([tmp_path / "0.png"]))
    tracemalloc.start()
    count = sum(isinstance(one, ScanSlice) for one in scan_slices([tmp_path]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 60
    assert peak < 12 * 256 * 256  # 60 pictures of 64 KiB would be five times that


def test_slices_become_what_preparation_stores(tmp_path, blob, cjdata):
    (tmp_path / "a.mat").write_bytes(cjdata(blob))
    (one,), _ = read(tmp_path / "a.mat")
    np.testing.assert_array_equal(store_image(one.pixels, 32, one.name, "x"), store_image(blob, 32, "a", "x"))
