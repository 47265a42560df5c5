"""The student that comes with the package: used where no other is named, and never judged by what it learned from."""

import csv
import json

import numpy as np
import pytest
from monai.bundle import run
from PIL import Image
from typer.testing import CliRunner

from kdmri_monai.cli import app
from kdmri_monai.data.errors import LeakageError
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.patients import write_phantoms
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.sharing import shipped
from kdmri_monai.sharing.audit import audit
from kdmri_monai.sharing.packed_student import open_packed

SIZE = shipped.shipped_image_size()
CONFIGS = ["bundles/kd/configs/train.json", "bundles/kd/configs/evaluate.json"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    home = tmp_path_factory.mktemp("phantoms")
    write_phantoms(home / "source", patients=15, size=128, progress=False)
    prepare_dataset(
        home / "source", home / "D", PrepareOptions(store_size=256, workers=1), SplitOptions(), progress=False
    )
    return home / "D"


@pytest.fixture
def scan(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def evaluate(bundle_root, dataset, **given):
    given = {"device": "cpu", "progress": False, "bootstrap_replicates": 20} | given
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.excepthook", print)
        run(run_id="evaluating", config_file=CONFIGS, dataset_dir=str(dataset), bundle_root=str(bundle_root), **given)


def test_it_is_small_safe_and_says_what_it_is_worth():
    folder = shipped.shipped_student()
    assert audit(folder).safe
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 5e6
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    assert metadata["eval_metrics_of"].startswith("networks of the same recipe")
    assert 0.5 < metadata["eval_metrics"]["slices_balanced_accuracy"] < 1
    card = (folder / "docs" / "model_card.md").read_text()
    assert "nothing is the test" in card
    assert "Every patient was judged by another network" in card
    assert "CC BY 4.0" in (folder / "docs" / "data_license.txt").read_text()
    assert sum(value.numel() for value in open_packed(folder).network.parameters()) <= 1_000_000


def test_it_knows_every_slice_that_it_learned_from():
    metadata = json.loads((shipped.shipped_student() / "configs" / "metadata.json").read_text())
    assert len(shipped.seen_slices()) == sum(metadata["training"]["slices"].values())


def test_evaluation_builds_the_network_that_is_shipped_whatever_the_configuration_describes(dataset, tmp_path):
    evaluate(tmp_path, dataset, **{"student_def#widen_factor": 0.125})
    assert (tmp_path / "runs" / "shipped" / "test_metrics.json").is_file()


def test_images_are_of_the_size_that_the_student_was_trained_on(tmp_path):
    default = tmp_path / "default"
    assert shipped.evaluated_image_size(default, default, 96) == shipped.shipped_image_size()
    for folder in (default, tmp_path / "named"):
        folder.mkdir()
        (folder / "model.pt").touch()
        assert shipped.evaluated_image_size(folder, default, 96) == 96
        (folder / "run.json").write_text('{"settings": {"image_size": 160}}')
        assert shipped.evaluated_image_size(folder, default, 96) == 160


def test_predict_asks_it_where_no_student_is_named(scan, tmp_path):
    told = CliRunner().invoke(app, ["predict", str(scan), "--out", str(tmp_path / "o"), "--device", "cpu"])
    assert told.exit_code == 0, told.output
    named = ["predict", str(shipped.shipped_student()), str(scan), "--out", str(tmp_path / "n"), "--device", "cpu"]
    assert CliRunner().invoke(app, named).exit_code == 0
    assert (tmp_path / "o" / "predictions.csv").read_text() == (tmp_path / "n" / "predictions.csv").read_text()
    assert shipped.FOLDER in json.loads((tmp_path / "o" / "predictions.json").read_text())["settings"]["student"]


def test_the_first_name_is_a_student_or_a_picture(scan, tmp_path):
    assert shipped.student_and_pictures([str(scan)]) == (shipped.shipped_student(), [str(scan)])
    assert shipped.student_and_pictures(["RUN", "a.png"])[1] == ["a.png"]  # a run that is not there is not a picture
    (tmp_path / "run.json").write_text("{}")
    assert shipped.student_and_pictures([str(tmp_path), "a.png"])[0] == tmp_path
    with pytest.raises(ValueError, match="no picture is named"):
        shipped.student_and_pictures([str(tmp_path)])


def test_evaluation_takes_it_where_there_is_no_run(dataset, tmp_path):
    evaluate(tmp_path, dataset)
    with (tmp_path / "runs" / "shipped" / "test_predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads((dataset / "datalist.json").read_text())
    assert {row["id"] for row in rows} == {entry["id"] for entry in content["test"]}
    metrics = json.loads((tmp_path / "runs" / "shipped" / "test_metrics.json").read_text())
    assert shipped.is_shipped(metrics["provenance"]["checkpoint"])
    assert not (tmp_path / "runs" / "student").exists()


def test_a_run_that_is_named_is_never_replaced_by_it(dataset, tmp_path):
    with pytest.raises(RuntimeError):
        evaluate(tmp_path, dataset, output_dir=str(tmp_path / "mistyped"))
    assert not (tmp_path / "runs").exists()


def test_slices_that_it_learned_from_are_refused(dataset, tmp_path, monkeypatch):
    entries = json.loads((dataset / "datalist.json").read_text())["test"]
    monkeypatch.setattr(shipped, "seen_slices", lambda: frozenset({entries[0]["sha256"][: shipped.DIGITS]}))
    with pytest.raises(LeakageError, match=f"learned from 1 of the {len(entries)} test slices"):
        shipped.checkpoint_or_shipped(tmp_path / "x", tmp_path / "x", dataset / "datalist.json", "test", SIZE)


def test_another_image_size_is_refused(dataset, tmp_path):
    with pytest.raises(ValueError, match=f"image_size is 64, the student that is shipped takes {SIZE}"):
        shipped.checkpoint_or_shipped(tmp_path / "x", tmp_path / "x", dataset / "datalist.json", "test", 64)


def test_a_package_without_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "files", lambda name: tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no student"):
        shipped.shipped_student()
