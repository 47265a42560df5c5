"""The bundle as shipped: every configuration runs, MONAI's own checks pass, and the commands of the README work."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, run, verify_net_in_out

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "kd" / "configs"
SMALL = {"image_size": 64, "max_epochs": 1, "batch_size": 8, "device": "cpu", "progress": False}

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.*:DeprecationWarning",
    "ignore:Detected call of `lr_scheduler.step:UserWarning",
)


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # explain_failures wraps it


def train(configs, *names, **overrides):
    run(run_id="training", config_file=configs("train", *names), **SMALL | overrides)


@pytest.fixture(scope="module")
def module_configs():
    return lambda *names: [str(CONFIGS / f"{name}.json") for name in names]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, dataset, module_configs):
    """Teacher, baseline and distilled student of one epoch, evaluated."""
    home, here = tmp_path_factory.mktemp("runs"), Path.cwd()
    os.chdir(ROOT)
    try:
        for arm, overlays in (("teacher", ["teacher"]), ("baseline", ["baseline"]), ("distilled", [])):
            given = {"dataset_dir": str(dataset), "output_dir": str(home / arm)}
            train(module_configs, *overlays, teacher_ckpt=str(home / "teacher" / "model.pt"), **given)
            names = ("train", *overlays, "evaluate")
            run(run_id="evaluating", config_file=module_configs(*names), **SMALL | given, bootstrap_replicates=50)
    finally:
        os.chdir(here)
    return home


ARMS = ["teacher", "baseline", "distilled"]


@pytest.mark.parametrize("arm", ARMS)
def test_a_run_folder_holds_everything(runs, arm):
    expected = {"model.pt", "checkpoint.pt", "metrics.jsonl", "run.json", "tensorboard"}
    expected |= {"test_predictions.csv", "test_metrics.json"}
    assert expected <= {path.name for path in (runs / arm).iterdir()}


@pytest.mark.parametrize("overlay", ["evaluate", "evidence"])
def test_a_run_is_judged_on_images_of_its_own_size_where_nobody_says_another(runs, module_configs, dataset, overlay):
    given = {"dataset_dir": str(dataset), "output_dir": str(runs / "baseline"), "device": "cpu", "progress": False}
    workflow = ConfigWorkflow(config_file=module_configs("train", overlay), run_id="evaluating", **given)
    workflow.initialize()
    assert workflow.parser.get_parsed_content("image_size") == SMALL["image_size"]
    first = workflow.parser.get_parsed_content("validate#dataset")[0]["image"]
    assert first.shape == (1, SMALL["image_size"], SMALL["image_size"])


def test_only_the_distilled_run_has_distillation_terms(runs):
    rows = {arm: json.loads((runs / arm / "metrics.jsonl").read_text()) for arm in ARMS}
    assert rows["distilled"]["training"].keys() == {"loss", "task", "kd", "hcl", "accuracy"}
    assert {"kd", "hcl", "loss", "accuracy", "balanced_accuracy"} == rows["distilled"]["validation"].keys()
    for arm in ("teacher", "baseline"):
        assert rows[arm]["training"].keys() == {"loss", "task", "accuracy"}


def test_baseline_and_distilled_start_from_the_same_weights_on_the_same_schedule(runs, configs, dataset, tmp_path):
    states, settings = [], []
    for names in (("train", "baseline"), ("train",)):
        workflow = ConfigWorkflow(
            config_file=configs(*names),
            workflow_type="train",
            dataset_dir=str(dataset),
            output_dir=str(tmp_path / names[-1]),
            teacher_ckpt=str(runs / "teacher" / "model.pt"),
            **SMALL,
        )
        workflow.initialize()
        states.append(workflow.parser.get_parsed_content("network").state_dict())
        settings.append(
            {key: workflow.parser.config.get(key) for key in ("max_epochs", "augmentations", "lr_scheduler")}
        )
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert settings[0] == settings[1]


def test_the_student_is_of_another_family_and_below_a_million_parameters(configs):
    parser = ConfigParser(ConfigParser.load_config_files(configs("train")))
    parser["image_size"] = 96
    student, teacher = parser.get_parsed_content("network_def"), parser.get_parsed_content("teacher_def")
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in student.modules())
    assert not any("Attention" in type(m).__name__ for m in student.modules())
    assert any("Attention" in type(m).__name__ for m in teacher.modules())
    sizes = [sum(p.numel() for p in network.parameters()) for network in (student, teacher)]
    assert sizes[0] < 1_000_000 < sizes[1]


def test_predictions_have_one_row_a_test_slice_and_belong_to_the_best_weights(runs, configs, dataset):
    with (runs / "distilled" / "test_predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    content = json.loads((dataset / "datalist.json").read_text())
    assert sorted(row["id"] for row in rows) == sorted(entry["id"] for entry in content["test"])
    parser = ConfigParser(ConfigParser.load_config_files(configs("train")))
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(runs / "distilled" / "model.pt", weights_only=True))
    images = np.load(dataset / "images.npy")
    for entry in content["test"]:
        pixels = images[int(entry["image"].split("#")[1])] / 255
        with torch.no_grad():
            expected = network(torch.from_numpy(pixels).float()[None, None]).softmax(1)[0]
        row = next(row for row in rows if row["id"] == entry["id"])
        got = [float(row[f"p_{name}"]) for name in ("meningioma", "glioma", "pituitary_tumour")]
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert int(row["label"]) == entry["label"]


def test_metrics_stand_at_slice_and_patient_level(runs):
    metrics = json.loads((runs / "distilled" / "test_metrics.json").read_text())
    assert metrics["slices"]["n"] == 2 * metrics["patients"]["n"]
    for level in ("slices", "patients"):
        accuracy = metrics[level]["accuracy"]
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]


def test_a_student_learns_what_can_be_learned(configs, dataset, tmp_path):
    given = {"dataset_dir": str(dataset), "output_dir": str(tmp_path)}
    train(configs, "baseline", **given | {"max_epochs": 12})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert max(row["validation"]["balanced_accuracy"] for row in rows) > 0.6


def test_mixed_precision_runs_as_shipped(configs, runs, dataset, tmp_path):
    given = {"dataset_dir": str(dataset), "teacher_ckpt": str(runs / "teacher" / "model.pt")}
    train(configs, **given, output_dir=str(tmp_path), amp="true")
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert np.isfinite(list(row["training"].values())).all()
    assert json.loads((tmp_path / "run.json").read_text())["settings"]["amp"] is True


def test_the_other_direction_runs_too(configs, dataset, tmp_path):
    given = {"dataset_dir": str(dataset), "teacher_ckpt": str(tmp_path / "teacher" / "model.pt")}
    train(configs, "cnn_to_vit", "teacher", **given, output_dir=str(tmp_path / "teacher"))
    train(configs, "cnn_to_vit", **given, output_dir=str(tmp_path / "student"))
    names = {name.split(".")[0] for name in torch.load(tmp_path / "student" / "model.pt", weights_only=True)}
    assert names == {"network"}
    row = json.loads((tmp_path / "student" / "metrics.jsonl").read_text())
    assert {"kd", "hcl"} <= row["training"].keys()


@pytest.mark.parametrize("names", [("train",), ("train", "evaluate"), ("train", "baseline"), ("train", "teacher")])
def test_monais_property_check_is_clean(configs, runs, dataset, tmp_path, names):
    workflow = ConfigWorkflow(
        config_file=configs(*names),
        workflow_type="train",
        dataset_dir=str(dataset),
        output_dir=str(tmp_path / "new"),
        teacher_ckpt=str(runs / "teacher" / "model.pt"),
        checkpoint=str(runs / "distilled" / "model.pt"),
        **SMALL,
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_property_check_of_inference_is_clean(configs, runs, pictures):
    workflow = ConfigWorkflow(
        config_file=configs("inference"),
        workflow_type="infer",
        dataset_dir=str(pictures),
        output_dir=str(runs / "distilled"),
        device="cpu",
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_metadata_matches_a_forward_pass(configs):
    verify_net_in_out(
        "network_def",
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=configs("inference"),
        device="cpu",
        p=1,
        n=1,
        any=96,
    )


def test_inference_on_pictures_agrees_with_the_evaluation_of_the_same_slices(configs, runs, pictures, tmp_path):
    run(
        run_id="inference",
        config_file=configs("inference"),
        dataset_dir=str(pictures),
        output_dir=str(runs / "distilled"),
        predictions_dir=str(tmp_path),
        store_size=64,
        device="cpu",
        progress=False,
    )
    names = ("p_meningioma", "p_glioma", "p_pituitary_tumour")
    with (tmp_path / "predictions.csv").open() as file:
        inferred = {Path(row["file"]).stem: [float(row[name]) for name in names] for row in csv.DictReader(file)}
    assert len(inferred) == 60
    with (runs / "distilled" / "test_predictions.csv").open() as file:
        for row in csv.DictReader(file):
            name = Path(row["id"]).stem
            evaluated = [float(row[f"p_{name}"]) for name in ("meningioma", "glioma", "pituitary_tumour")]
            np.testing.assert_allclose(inferred[name], evaluated, atol=1e-5)


def bundle_command(*arguments, cwd=ROOT):
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.slow
def test_the_command_line_trains_resumes_and_refuses(runs, dataset, tmp_path):
    small = [f"--{name}={value}" for name, value in SMALL.items()]
    given = ["--dataset_dir", str(dataset), "--output_dir", str(tmp_path / "run"), *small]
    names = "['bundles/kd/configs/train.json','bundles/kd/configs/baseline.json']"
    first = bundle_command("training", "--config_file", names, *given)
    assert first.returncode == 0, first.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["teacher"] is None
    again = bundle_command("training", "--config_file", names, *given)
    assert again.returncode != 0
    assert "already holds a run; continue it with --resume true" in again.stderr.splitlines()[-1]
    more = bundle_command("training", "--config_file", names, *given, "--resume", "true", "--max_epochs", "2")
    assert more.returncode == 0, more.stderr
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]


@pytest.mark.slow
def test_what_is_missing_is_the_last_line(dataset, tmp_path):
    config = str(CONFIGS / "train.json")
    told = bundle_command("training", "--config_file", config, "--dataset_dir", str(tmp_path / "none"), cwd=tmp_path)
    assert told.returncode != 0
    assert "none/datalist.json does not exist; make it with: kdmri prepare SOURCE" in told.stderr.splitlines()[-1]
    out = str(tmp_path / "student")
    told = bundle_command(
        "training", "--config_file", config, "--dataset_dir", str(dataset), "--output_dir", out, cwd=tmp_path
    )
    assert told.returncode != 0
    assert "teacher_ckpt: there is no file" in told.stderr
    assert told.stderr.rstrip().endswith("and pass --teacher_ckpt T/model.pt")
    assert not Path(out).exists()


def test_training_refuses_a_datalist_that_leaks(configs, dataset, tmp_path):
    content = json.loads((dataset / "datalist.json").read_text())
    content["training"].append(content["test"].pop())
    content["numTraining"] += 1
    content["numTest"] -= 1
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    for name in ("images.npy",):
        (tmp_path / name).symlink_to(dataset / name)
    with pytest.raises(RuntimeError) as told:
        train(configs, "baseline", dataset_dir=str(tmp_path), output_dir=str(tmp_path / "run"))
    error = told.value
    while error.__cause__ is not None:
        error = error.__cause__
    assert type(error).__name__ == "LeakageError"
    assert not (tmp_path / "run").exists()


def test_the_student_sees_pixels_only(configs, runs, dataset, tmp_path):
    parser = ConfigParser(ConfigParser.load_config_files(configs("train")))
    for name, value in (SMALL | {"dataset_dir": str(dataset)}).items():
        parser[name] = value
    item = parser.get_parsed_content("train#dataset")[0]
    assert item.keys() == {"image", "label", "id", "patient", "family"}
    assert type(item["image"]) is torch.Tensor
    assert item["image"].shape == (1, 64, 64)
