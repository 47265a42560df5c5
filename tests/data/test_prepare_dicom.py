"""A table that names DICOM files and folders of series, prepared as one of volumes is."""

import json

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from kdmri_monai.data.errors import BadSourceError
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.pixels import store_image
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions


def write(path, pixels, place=0.0, series="1.2.3"):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, b"\0" * 128, meta, False, True)
    data.PatientName, data.PatientID, data.SeriesInstanceUID = "Doe^Jane", "ID-4711", series
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 0, -1], [0, -place, 0]
    data.PixelData = pixels.astype("<u2").tobytes()
    data["PixelData"].VR = "OW"
    path.parent.mkdir(exist_ok=True)
    data.save_as(path, enforce_file_format=True)


@pytest.fixture
def table(tmp_path):
    """Three series of four slices, of which the first in position is nearly empty, and three single files a class."""
    folder, rng, rows, pictures = tmp_path / "scans", np.random.default_rng(0), ["path,label,patient,mask"], {}
    folder.mkdir()
    for label in (1, 2, 3):
        for place in range(4):
            image = rng.integers(400, 900, (32, 32))
            if place == 0:
                image[2:] = 0  # 6 % of foreground
            write(folder / f"head{label}" / f"{9 - place}.dcm", image, place, f"1.2.{label}")
            pictures[f"head{label}/{place:03d}"] = image
        rows.append(f"head{label},{label},P{label},")
        for number in range(3):
            image = rng.integers(0, 900, (32, 32))
            write(folder / f"one_{label}_{number}.dcm", image)
            pictures[f"one_{label}_{number}.dcm"] = image
            rows.append(f"one_{label}_{number}.dcm,{label},Q{label}{number},")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder, pictures


def prepare(folder, out):
    prepare_dataset(folder, out, PrepareOptions(store_size=32, workers=1), SplitOptions(), progress=False)
    content = json.loads((out / "datalist.json").read_text())
    return content, [entry for split in ("training", "validation", "test") for entry in content[split]]


def test_series_and_files_become_slices_with_the_label_of_their_row(tmp_path, table):
    folder, pictures = table
    _, entries = prepare(folder, tmp_path / "out")
    kept = {name for name in pictures if not name.endswith("/000")}
    assert {entry["id"] for entry in entries} == kept
    images = np.load(tmp_path / "out" / "images.npy")
    for entry in entries:
        stored = images[int(entry["image"].split("#")[1])]
        np.testing.assert_array_equal(stored, store_image(pictures[entry["id"]], 32, "x", "x"))
        assert entry["label"] == int(entry["id"].split("/")[0].split("_")[-2 if "one" in entry["id"] else -1][-1]) - 1
        assert entry["patient"][0] in "PQ"
        assert entry["plane"] == "coronal"
    assert b"4711" not in (tmp_path / "out" / "datalist.json").read_bytes()
    assert b"Doe" not in (tmp_path / "out" / "datalist.json").read_bytes()


def test_what_cannot_be_read_is_told_and_the_rest_is_prepared(tmp_path, table):
    folder, _ = table
    (folder / "head1" / "8.dcm").write_bytes(b"no" * 200)
    (folder / "empty").mkdir()
    with (folder / "manifest.csv").open("a") as file:
        file.write("empty,1,P9,\nhead2,1,P2,one_1_1.dcm\nabsent.dcm,2,P8,\n")
    content, entries = prepare(folder, tmp_path / "out")
    told = {finding["name"]: finding["field"] for finding in content["skipped"]}
    assert told["head1/8.dcm"] == "file"
    assert told["empty"] == "path"
    assert any(name.startswith("manifest.csv line 15") for name in told)
    assert "absent.dcm" in told
    assert len([entry for entry in entries if entry["id"].startswith("head1")]) == 2


def test_a_series_that_gained_a_slice_is_another_source(tmp_path, table):
    folder, _ = table
    prepare(folder, tmp_path / "out")
    prepare(folder, tmp_path / "out")
    write(folder / "head1" / "20.dcm", np.random.default_rng(5).integers(400, 900, (32, 32)), 9, "1.2.1")
    with pytest.raises(BadSourceError, match="was prepared from another source"):
        prepare(folder, tmp_path / "out")
