"""An examination of a run: part by part, kept, gone on with, and never mixed up with other weights or slices."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import resnet10
from typer.testing import CliRunner

from kdmri_monai.cli import app
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.patients import write_phantoms
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.evaluation.evidence_file import read_evidence
from kdmri_monai.evaluation.examination import PARTS, Examination
from kdmri_monai.evaluation.heat_file import read_heat
from kdmri_monai.evaluation.predictions_file import read_predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.subject import file_digest, open_run

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "kd" / "configs"
SIDE, WIDEN = 48, 0.125
FEW = Resampling(40)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    home = tmp_path_factory.mktemp("data")
    write_phantoms(home / "source", patients=30, size=64, progress=False)
    prepare_dataset(
        home / "source", home / "D", PrepareOptions(store_size=SIDE, workers=1), SplitOptions(), progress=False
    )
    return home / "D"


@pytest.fixture(scope="module")
def untrained(tmp_path_factory, dataset):
    """The folder of a run whose network has not learned anything."""
    folder = tmp_path_factory.mktemp("runs") / "untrained"
    folder.mkdir()
    files = [str(CONFIGS / f"{name}.json") for name in ("train", "baseline")]
    command = ["monai.bundle", "run", "training", "--config_file", repr(files), "--dataset_dir", str(dataset)]
    command += [f"--student_def#widen_factor={WIDEN}", "--image_size", str(SIDE)]
    data = {"datalist": str(dataset / "datalist.json"), "sha256": file_digest(dataset / "datalist.json")}
    (folder / "run.json").write_text(json.dumps({"command": command, "settings": {"image_size": SIDE}, "data": data}))
    (folder / "config.json").write_text(json.dumps(ConfigParser.load_config_files(files)))
    torch.manual_seed(0)
    network = resnet10(spatial_dims=2, n_input_channels=1, num_classes=3, conv1_t_stride=2, widen_factor=WIDEN)
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


@pytest.fixture
def run(untrained, tmp_path):
    return shutil.copytree(untrained, tmp_path / "run")


@pytest.fixture(scope="module")
def examined(untrained, tmp_path_factory):
    """The same, examined in every part."""
    folder = shutil.copytree(untrained, tmp_path_factory.mktemp("examined") / "run")
    told = list(Examination(open_run(folder, torch.device("cpu")), folder, resampling=FEW).run())
    return folder, told


def examine(folder, *parts, **given):
    subject = open_run(folder, torch.device("cpu"))
    return list(Examination(subject, folder, resampling=FEW, **given).run(parts or None))


def test_every_part_is_done_and_written(examined):
    folder, told = examined
    assert told == [(name, done) for name in PARTS for done in (False, True)]
    sections = read_evidence(folder / "test_evidence.json")
    assert list(sections) == list(PARTS)
    assert len(read_predictions(folder / "validation_predictions.csv")) > 0
    metrics = json.loads((folder / "test_metrics.json").read_text())
    table = read_predictions(folder / "test_predictions.csv")
    assert metrics["slices"]["n"] == len(table) == sections["predictions"]["slices"]["test"]
    assert set(read_heat(folder / "test_heat.npz").id.tolist()) <= set(table.id.tolist())


def test_an_untrained_network_is_reported_as_chance(examined):
    sections = read_evidence(examined[0] / "test_evidence.json")
    rows = {row["name"]: row for row in sections["network_controls"]["rows"]}
    for name in ("intact", "erased_inpaint", "tumour_only", "background_only"):
        assert rows[name]["low"] <= rows[name]["chance"] + 0.1
        assert rows[name]["null_low"] <= rows[name]["value"] <= max(rows[name]["null_high"], 0.5)
        assert not rows[name]["caught"]
    assert sections["robustness"]["intact"]["value"] < 0.55
    assert sections["predicted_mask"]["skipped"] == "ResNet predicts no tumour"


def test_predictions_are_those_of_the_network(examined):
    folder, _ = examined
    subject, table = open_run(folder, torch.device("cpu")), read_predictions(folder / "test_predictions.csv")
    batch = next(iter(subject.batches("test")))
    with torch.no_grad():
        expected = subject.network.eval()(batch["image"]).softmax(1).numpy()
    rows = [table.id.tolist().index(name) for name in batch["id"]]
    assert np.abs(table.probabilities[rows] - expected).max() < 1e-6


def test_what_is_there_is_not_done_again(examined, tmp_path):
    folder = shutil.copytree(examined[0], tmp_path / "again")
    before = (folder / "test_evidence.json").read_text()
    assert examine(folder, "efficiency", "robustness") == [("efficiency", True), ("robustness", True)]
    assert (folder / "test_evidence.json").read_text() == before
    anew = examine(folder, "predicted_mask", overwrite=True)
    assert anew == [("predicted_mask", False), ("predicted_mask", True)]
    assert list(read_evidence(folder / "test_evidence.json")) == list(PARTS)


def test_a_file_of_an_earlier_version_is_replaced_when_asked_for(run):
    (run / "test_evidence.json").write_text('{"format": "kdmri-evidence-1"}')
    with pytest.raises(ValueError, match="--overwrite"):
        examine(run, "predicted_mask")
    examine(run, "predicted_mask", overwrite=True)
    assert list(read_evidence(run / "test_evidence.json")) == ["predicted_mask"]


def test_an_examination_goes_on_where_it_stopped(run):
    examination = Examination(open_run(run, torch.device("cpu")), run, resampling=FEW)
    going = examination.run(["source_probe", "predicted_mask"])
    assert [next(going), next(going)] == [("source_probe", False), ("source_probe", True)]
    going.close()
    told = examine(run, "source_probe", "predicted_mask")
    assert told == [("source_probe", True), ("predicted_mask", False), ("predicted_mask", True)]


def test_other_weights_are_examined_anew(run):
    examine(run, "predicted_mask")
    weights = torch.load(run / "model.pt", weights_only=True)
    torch.save({name: value * 2 for name, value in weights.items()}, run / "model.pt")
    assert examine(run, "predicted_mask") == [("predicted_mask", False), ("predicted_mask", True)]


def test_predictions_of_other_weights_are_refused_and_kept(run):
    examine(run, "predictions")
    before = (run / "test_predictions.csv").read_text()
    weights = torch.load(run / "model.pt", weights_only=True)
    torch.save(weights | {"fc.bias": torch.tensor([9.0, 0.0, 0.0])}, run / "model.pt")
    with pytest.raises(ValueError, match="does not hold what these weights say"):
        examine(run, "predictions")
    assert (run / "test_predictions.csv").read_text() == before
    examine(run, "predictions", overwrite=True)
    assert (run / "test_predictions.csv").read_text() != before


def test_what_hangs_on_the_slices_alone_is_found_once(run, untrained, tmp_path):
    shared = {}
    examine(run, "data_controls", shared=shared)
    other = shutil.copytree(untrained, tmp_path / "other")
    [key] = shared
    shared[key] = {"rows": ["kept"]}
    examine(other, "data_controls", shared=shared)
    assert read_evidence(other / "test_evidence.json")["data_controls"]["rows"] == ["kept"]


def test_another_datalist_than_the_runs_is_refused(run, dataset, tmp_path):
    other = shutil.copytree(dataset, tmp_path / "D")
    with (other / "datalist.json").open("a") as file:
        file.write("\n")
    with pytest.raises(ValueError, match="may be among those that were learned from"):
        open_run(run, torch.device("cpu"), other)


def test_a_dataset_that_has_moved_is_found_where_it_is_said_to_be(run, dataset, tmp_path):
    record = json.loads((run / "run.json").read_text())
    record["command"] = [word if word != str(dataset) else str(tmp_path / "gone") for word in record["command"]]
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(FileNotFoundError, match="where the dataset folder is now"):
        open_run(run, torch.device("cpu"))
    assert open_run(run, torch.device("cpu"), dataset).datalist == dataset / "datalist.json"


def test_a_layer_that_a_network_lacks_is_left_to_the_rule(run):
    config = json.loads((run / "config.json").read_text())
    assert open_run(run, torch.device("cpu")).cam_layer == "layer3"
    (run / "config.json").write_text(json.dumps(config | {"cam_layer": "nowhere"}))
    assert open_run(run, torch.device("cpu")).cam_layer is None


def test_an_unknown_part_is_refused(run):
    with pytest.raises(ValueError, match=r"part 'everything' is not known, allowed are predictions, network_controls"):
        examine(run, "everything")


def test_the_command_tells_each_part_and_wrong_input_in_one_line(run, tmp_path):
    done = CliRunner().invoke(app, ["examine", str(run), "--parts", "source_probe,predicted_mask"])
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert words.index("source probe") < words.index("predicted mask")
    failed = CliRunner().invoke(app, ["examine", str(tmp_path / "nothing")])
    assert failed.exit_code == 1
    assert "nothing" in failed.output
