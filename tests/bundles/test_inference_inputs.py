"""Inference on files that the dataset never saw: every student, every format, the pixels of the training."""

import csv
import hashlib
import json
import shutil
import sys
from pathlib import Path

import h5py
import jsonschema
import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow, run
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy.special import log_softmax, softmax

from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.engines.calibration import best_temperature
from kdmri_monai.engines.explain import first_cause
from kdmri_monai.evaluation.predictions_file import read_predictions

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "kd" / "configs"
SCHEMA = json.loads((ROOT / "bundles" / "kd" / "docs" / "predictions_schema.json").read_text())
CLASSES = ("meningioma", "glioma", "pituitary tumour")
STUDENTS = {"plain": [], "geometry": ["geometry_head"], "transformer": ["cnn_to_vit"]}
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")


def write_cjdata(path, image, mask, label, patient):
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM"
    with h5py.File(path, "w", userblock_size=512) as file:
        struct = file.create_group("cjdata")
        struct["image"], struct["tumorMask"] = image.T, mask.T.astype(np.uint8)
        struct["label"] = np.array([[float(label + 1)]])
        struct["PID"] = np.array([[ord(c)] for c in patient], np.uint16)
    with path.open("r+b") as file:
        file.write(header.ljust(512, b"\0"))


def write_dicom(path, pixels, place):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, b"\0" * 128, meta, False, True)
    data.PatientName, data.SeriesInstanceUID = "Doe^Jane", "1.2.3"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 1
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, place]
    data.PixelData = pixels.astype("<i2").tobytes()
    data["PixelData"].VR = "OW"
    data.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Slices as published, 80 x 72 pixels of 16 bits: two of each of ten patients a class."""
    folder, rng = tmp_path_factory.mktemp("originals"), np.random.default_rng(4)
    for number in range(60):
        patient, label = number // 2, number // 2 % 3
        image, mask = rng.normal(600, 120, (80, 72)), np.zeros((80, 72), bool)
        row, column = 8 + 20 * label + rng.integers(-3, 4), 25 + rng.integers(-8, 9)
        mask[row : row + 12, column : column + 16] = True
        image[mask] += 900
        write_cjdata(folder / f"{number + 1}.mat", image.astype(np.int16), mask, label, f"10{patient:02d}")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory, originals):
    """A dataset and runs of one epoch, evaluated; trained as from the command line, which leaves a record."""
    folder = tmp_path_factory.mktemp("home")
    prepare_dataset(
        originals, folder / "dataset", PrepareOptions(store_size=64, workers=1), SplitOptions(), progress=False
    )
    for name, overlays in STUDENTS.items():
        files = [str(CONFIGS / f"{one}.json") for one in ("train", *overlays, "baseline")]
        given = {"dataset_dir": str(folder / "dataset"), "output_dir": str(folder / name), "image_size": 48}
        given |= {"max_epochs": 1, "batch_size": 12, "device": "cpu", "progress": False, "pictures_every": 0}
        words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            patch.setattr(sys, "excepthook", sys.excepthook)
            patch.setattr(sys, "argv", ["monai.bundle", "run", "training", "--config_file", str(files), *words])
            run(run_id="training", config_file=files, **given)
            evaluation = [*files, str(CONFIGS / "evaluate.json")]
            run(run_id="evaluating", config_file=evaluation, **given, bootstrap_replicates=20)
    return folder


def infer(folder, **given):
    """Run the shipped configuration from the repository root; rows of the table and the JSON file."""
    given = {"output_dir": str(folder), "device": "cpu", "progress": False} | given
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(sys, "excepthook", sys.excepthook)
        run(run_id="inference", config_file=str(CONFIGS / "inference.json"), **given)
    out = Path(given.get("predictions_dir", folder / "inference"))
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads((out / "predictions.json").read_text())
    jsonschema.validate(content, SCHEMA)
    return rows, content


def numbers(row, kind="p"):
    return np.array([float(row[f"{kind}_{name.replace(' ', '_')}"]) for name in CLASSES])


@pytest.mark.parametrize("name", STUDENTS)
def test_originals_get_the_probabilities_of_the_evaluation(home, originals, tmp_path, name):
    """The network is the run's own, the pixels those of the training, whatever the student."""
    rows, content = infer(home / name, dataset_dir=str(originals), predictions_dir=str(tmp_path))
    said = {Path(row["file"]).stem: numbers(row) for row in rows}
    table = read_predictions(home / name / "test_predictions.csv")
    assert len(said) == 60
    assert len(table) > 5
    for slice_id, expected in zip(table.id, table.probabilities, strict=True):
        np.testing.assert_allclose(said[slice_id], expected, atol=1e-5)
    assert np.std([*said.values()], axis=0).max() > 1e-4  # the network does look at them
    settings = content["settings"]
    assert (settings["image_size"], settings["store_size"]) == (48, 64)
    assert settings["checkpoint_sha256"] == hashlib.sha256((home / name / "model.pt").read_bytes()).hexdigest()
    assert settings["configuration"] == str(home / name / "config.json")


def test_json_and_table_say_the_same(home, originals, tmp_path):
    rows, content = infer(home / "plain", files=[str(originals / "3.mat")], predictions_dir=str(tmp_path))
    (row,), (entry,) = rows, content["predictions"]
    assert (row["file"], row["class"]) == (entry["file"], entry["class"])
    np.testing.assert_array_equal(numbers(row), [*entry["probabilities"].values()])
    np.testing.assert_array_equal(numbers(row, "calibrated"), [*entry["calibrated"].values()])
    assert row["class"] == CLASSES[numbers(row).argmax()]
    assert content["inputs"] == [str(originals / "3.mat")]


def test_every_format_gives_the_same_answer_and_bad_files_are_told(home, originals, tmp_path):
    with h5py.File(originals / "1.mat") as file:
        image = file["cjdata/image"][()].T
    scans = tmp_path / "scans"
    scans.mkdir()
    shutil.copy(originals / "1.mat", scans)
    Image.fromarray(image.clip(0).astype(np.uint16)).save(scans / "a.png")
    Image.fromarray((image.clip(0, 2550) / 10).astype(np.uint8)).save(scans / "b.jpg", quality=98)
    volume = np.stack([image + 5 * k for k in range(3)], axis=-1)[::-1, ::-1].transpose(1, 0, 2)
    nib.save(nib.Nifti1Image(volume.copy(), np.diag([1.0, 1, 1, 1])), scans / "head.nii.gz")
    (scans / "series").mkdir()
    for number, place in enumerate((3.0, 1.0)):
        write_dicom(scans / "series" / f"IM{number}", image + number, place)
    (scans / "c.png").write_bytes(b"no picture")
    rows, content = infer(home / "plain", dataset_dir=str(scans), predictions_dir=str(tmp_path / "out"))
    places = [(Path(row["file"]).name, row["slice"], row["plane"]) for row in rows]
    expected = [("1.mat", "", ""), ("a.png", "", ""), ("b.jpg", "", "")]
    expected += [("head.nii.gz", str(k), "axial") for k in range(3)]
    assert places == [*expected, ("IM1", "0", "axial"), ("IM0", "1", "axial")]
    for row in rows:
        np.testing.assert_allclose(numbers(row), numbers(rows[0]), atol=5e-3 if "jpg" in row["file"] else 1e-5)
    (skipped,) = content["skipped"]
    assert (skipped["name"], skipped["field"]) == ("c.png", "pixels")
    assert "Jane" not in (tmp_path / "out" / "predictions.json").read_text()
    given = {"slices": [1, 1], "plane": "coronal", "files": [str(scans / "head.nii.gz")]}
    rows, content = infer(home / "plain", **given, predictions_dir=str(tmp_path / "one"))
    assert [(row["slice"], row["plane"]) for row in rows] == [("1", "coronal")]
    assert (content["settings"]["slices"], content["settings"]["plane"]) == ([1, 1], "coronal")


def test_the_same_scans_give_the_same_bytes_in_any_batch(home, originals, tmp_path):
    written = []
    for number, size in enumerate((32, 32, 7)):
        out = tmp_path / str(number)
        infer(home / "plain", dataset_dir=str(originals), predictions_dir=str(out), batch_size=size)
        written.append([(out / name).read_bytes() for name in ("predictions.csv", "predictions.json")])
    assert written[0] == written[1]
    rows = [[numbers(row) for row in csv.DictReader(one[0].decode().splitlines())] for one in written]
    np.testing.assert_allclose(rows[2], rows[0], atol=1e-6)


@pytest.fixture
def copied(home, tmp_path):
    """The plain run, alone: without what other tests have fitted."""
    folder = shutil.copytree(home / "plain", tmp_path / "run")
    for name in ("validation_predictions.csv", "temperature.json"):
        (folder / name).unlink(missing_ok=True)
    return folder


def test_probabilities_are_calibrated_on_the_validation_patients(copied, originals, home):
    rows, content = infer(copied, dataset_dir=str(originals))
    table = read_predictions(copied / "validation_predictions.csv")
    listed = json.loads((home / "dataset" / "datalist.json").read_text())["validation"]
    assert set(table.id) == {entry["id"] for entry in listed}
    expected = best_temperature(np.log(table.probabilities), table.label)
    settings = content["settings"]
    assert settings["temperature"] == pytest.approx(expected, rel=1e-4)
    assert settings["calibrated"]
    assert abs(expected - 1) > 0.01
    for row in rows:
        scaled = softmax(log_softmax(np.log(numbers(row))) / expected)
        np.testing.assert_allclose(numbers(row, "calibrated"), scaled, atol=1e-4)
    assert f"{len(table)} slices" in settings["temperature_origin"]


def test_a_temperature_is_kept_for_the_same_weights_alone(copied, originals):
    given = {"files": [str(originals / "1.mat")]}
    _, first = infer(copied, **given)
    kept = json.loads((copied / "temperature.json").read_text())
    (copied / "temperature.json").write_text(json.dumps(kept | {"temperature": 3.5}))
    _, again = infer(copied, **given)
    assert again["settings"]["temperature"] == 3.5
    (copied / "temperature.json").write_text(json.dumps(kept | {"temperature": 3.5, "checkpoint_sha256": "0" * 64}))
    _, anew = infer(copied, **given)
    assert anew["settings"]["temperature"] == first["settings"]["temperature"]


def test_without_validation_patients_nothing_is_calibrated_and_it_is_said(copied, originals):
    record = json.loads((copied / "run.json").read_text())
    moved = [word.replace("/dataset", "/elsewhere") for word in record["command"]]
    (copied / "run.json").write_text(json.dumps(record | {"command": moved}))
    rows, content = infer(copied, files=[str(originals / "1.mat")])
    assert content["settings"]["temperature"] == 1.0
    assert not content["settings"]["calibrated"]
    assert content["settings"]["temperature_origin"].startswith("not calibrated: ")
    np.testing.assert_array_equal(numbers(rows[0]), numbers(rows[0], "calibrated"))
    _, content = infer(copied, files=[str(originals / "1.mat")], temperature=2.0)
    assert (content["settings"]["temperature"], content["settings"]["temperature_origin"]) == (2.0, "given")


@pytest.mark.parametrize("name", ["plain", "geometry"])
def test_overlays_are_drawn_one_a_slice(home, originals, tmp_path, name):
    files = [str(originals / "1.mat"), str(originals / "2.mat")]
    rows, content = infer(home / name, files=files, predictions_dir=str(tmp_path), overlays="true", batch_size=1)
    assert [row["overlay"] for row in rows] == ["00001_1.mat.png", "00002_2.mat.png"]
    assert [entry["overlay"] for entry in content["predictions"]] == [row["overlay"] for row in rows]
    for row in rows:
        with Image.open(tmp_path / "overlays" / row["overlay"]) as picture:
            colours = np.asarray(picture.convert("RGB")).astype(int)
        assert np.ptp(colours, axis=-1).max() > 60  # there is colour over the grey


def failing(folder, **given):
    with pytest.raises((RuntimeError, ValueError)) as told:
        infer(folder, **given)
    return first_cause(told.value)


def test_what_is_missing_is_named(home, originals, tmp_path):
    assert "--dataset_dir" in str(failing(home / "plain", dataset_dir=str(tmp_path / "none")))
    assert "there is no file" in str(failing(tmp_path / "no_run", dataset_dir=str(originals)))
    (tmp_path / "notes.txt").write_text("no")
    error = failing(home / "plain", dataset_dir=str(tmp_path), predictions_dir=str(tmp_path / "out"))
    assert "no slice of" in str(error)
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [one["name"] for one in content["skipped"]] == ["notes.txt"]


@pytest.mark.parametrize("name", STUDENTS)
def test_monais_property_check_is_clean_and_may_be_repeated(home, originals, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    workflow = ConfigWorkflow(
        config_file=str(CONFIGS / "inference.json"),
        workflow_type="infer",
        dataset_dir=str(originals),
        output_dir=str(home / name),
        device="cpu",
    )
    workflow.initialize()
    workflow.initialize()
    assert workflow.check_properties() == []
