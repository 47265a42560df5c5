"""The overlays for several GPUs, run by two processes on the CPU: as one process would run them, and refusals."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, run

from kdmri_monai.engines import BalancedSampler, ProcessShare
from kdmri_monai.engines.explain import first_cause
from kdmri_monai.engines.run_config import run_config
from kdmri_monai.evaluation.comparison import compare_runs
from kdmri_monai.evaluation.resampling import Resampling

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "kd" / "configs"
SMALL = {"image_size": 48, "batch_size": 12, "max_epochs": 2, "device": "cpu", "progress": False}
SMALL |= {"teacher_def#backbone#embed_dim": 12, "teacher_def#num_features": 192, "bootstrap_replicates": 50}
WHOLE_RUN = {"lr_scheduler#t_total": 2, "terms#1#schedule#epochs": 1.0}
GROUP_NORM = ["group", {"num_groups": 3}]
EXACT = {
    "replay_seed": 0,
    "student_def": {
        "_target_": "DenseNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": "@num_classes",
        "init_features": 12,
        "growth_rate": 6,
        "block_config": [2, 2, 2, 2],
        "norm": GROUP_NORM,
    },
    "backbone_taps": [f"features.denseblock{number}" for number in (1, 2, 3, 4)],
    "terms#1#arguments#fusion": ["abf", {"width": 24, "norm": GROUP_NORM}],
    "+train#handlers": [{"_target_": "@augmentation", "_mode_": "callable"}],
}
"""Views by sample, and no statistics of batches: nothing is left by which processes may differ from one."""

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")


def files(*names):
    return [name if name.endswith(".json") else str(CONFIGS / f"{name}.json") for name in names]


def commands(given):
    """Runs ``(id, names, overrides)`` of the bundle one after the other; gives the error of each, or None."""
    os.chdir(ROOT)
    ends = []
    for run_id, names, overrides in given:
        config = files("train", *names)
        known = SMALL if "evaluate" in names else {k: v for k, v in SMALL.items() if k != "bootstrap_replicates"}
        try:
            run(run_id=run_id, config_file=config, **known | overrides)
            ends.append(None)
        except Exception as error:  # noqa: BLE001  # the test looks at it
            cause = first_cause(error)
            ends.append(f"{type(cause).__name__}: {cause}")
    return ends


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # explain_failures wraps it


@pytest.fixture(scope="module")
def lab(tmp_path_factory, dataset):
    """A folder for runs, with a teacher and the overlay that makes a run exact; and what all runs are given."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "exact.json").write_text(json.dumps(EXACT))
    given = {"dataset_dir": str(dataset), "teacher_ckpt": str(folder / "teacher" / "model.pt")}
    teacher = given | {"output_dir": str(folder / "teacher"), "max_epochs": 1}
    assert commands([("training", ["teacher"], teacher)]) == [None]
    return folder, str(folder / "exact.json"), given


def weights(folder):
    return torch.load(folder / "model.pt", weights_only=True)


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def numbers(value, name=""):
    """Every number of a nested result by its path."""
    if isinstance(value, dict):
        return {
            key: number for part, inner in value.items() for key, number in numbers(inner, f"{name}/{part}").items()
        }
    return {name: value} if isinstance(value, (int, float)) else {}


def test_two_processes_train_and_evaluate_as_one_does(two_processes, lab, dataset):
    folder, exact, given = lab
    for names, evaluation, out in (([], [], "one"), (["multi_gpu_train"], ["multi_gpu_evaluate"], "two")):
        here = given | {"output_dir": str(folder / out)}
        runs = [("training", [exact, *names], here), ("evaluating", [exact, "evaluate", *evaluation], here)]
        for one_run in runs:  # the processes part at the end of each
            assert (two_processes(commands, [one_run]) if names else [commands([one_run])]) in ([[None]], [[None]] * 2)
    one, two = weights(folder / "one"), weights(folder / "two")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5, msg=name)
    for alone, shared in zip(rows(folder / "one"), rows(folder / "two"), strict=True):
        for part in ("training", "validation", "weighted", "gradient_norms"):
            assert shared[part] == pytest.approx(alone[part], rel=1e-5, abs=1e-6), part
        assert shared["n"] == alone["n"]
    predicted = [table(folder / out / "test_predictions.csv") for out in ("one", "two")]
    order = [entry["id"] for entry in json.loads((dataset / "datalist.json").read_text())["test"]]
    assert [[row["id"] for row in rows_of] for rows_of in predicted] == [order, order]
    p = [[[float(row[key]) for key in row if key.startswith("p_")] for row in rows_of] for rows_of in predicted]
    np.testing.assert_allclose(p[0], p[1], atol=1e-5)
    metrics = [numbers(json.loads((folder / out / "test_metrics.json").read_text())) for out in ("one", "two")]
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-5, abs=1e-6)
    record = json.loads((folder / "two" / "run.json").read_text())
    assert record["processes"] == {"world_size": 2, "backend": "gloo"}
    compared = compare_runs([folder / "one", folder / "two"], resampling=Resampling(replicates=50))
    assert [row.name for row in compared.rows] == ["one", "two"]


@pytest.mark.slow
def test_two_processes_fine_tune_as_one_does_with_a_body_that_stands_still_at_first(two_processes, lab):
    folder, exact, given = lab
    names = ["without_teacher", "finetune"]
    start = given | {"output_dir": str(folder / "start"), "max_epochs": 1}
    assert commands([("training", [exact, *names[:1]], start)]) == [None]
    given = given | {"pretrained": str(folder / "start" / "model.pt"), "freeze_epochs": 1, "keep_head": False}
    for overlays, out in (([], "tuned"), (["multi_gpu_train"], "tuned by two")):
        run_of = [("training", [exact, *names, *overlays], given | {"output_dir": str(folder / out)})]
        assert (two_processes(commands, run_of) if overlays else [commands(run_of)]) in ([[None]], [[None]] * 2)
    one, two, begun = (weights(folder / out) for out in ("tuned", "tuned by two", "start"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5, msg=name)
    assert not all(torch.equal(value, begun[name]) for name, value in one.items())


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(two_processes, lab):
    folder, _, given = lab
    straight, parts = (given | WHOLE_RUN | {"output_dir": str(folder / out)} for out in ("straight", "parts"))
    names = ["multi_gpu_train"]
    runs = [
        ("training", names, straight),
        ("training", names, parts | {"max_epochs": 1}),
        ("training", names, parts | {"resume": "true"}),
    ]
    for one_run in runs:
        assert two_processes(commands, [one_run]) == [[None]] * 2
    expected = weights(folder / "straight")
    assert all(torch.equal(value, expected[name]) for name, value in weights(folder / "parts").items())
    kept = [[{k: v for k, v in row.items() if k != "seconds"} for row in rows(folder / out)] for out in
            ("straight", "parts")]  # fmt: skip
    assert kept[0] == kept[1]


def test_a_refusal_ends_all_processes(two_processes, lab, dataset, tmp_path):
    folder, _, given = lab
    content = json.loads((dataset / "datalist.json").read_text())
    content["training"].append(content["test"].pop())
    content["numTraining"], content["numTest"] = content["numTraining"] + 1, content["numTest"] - 1
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    (tmp_path / "images.npy").symlink_to(dataset / "images.npy")
    out = {"output_dir": str(tmp_path / "run")}
    names, baseline = ["multi_gpu_train"], ["baseline", "multi_gpu_train"]
    runs = [
        ("training", baseline, given | {"output_dir": str(folder / "teacher")}),
        ("training", baseline, given | out | {"dataset_dir": str(tmp_path)}),
        ("training", names, given | out | {"teacher_ckpt": str(tmp_path / "none.pt")}),
        ("training", baseline, given | out | {"batch_size": 7}),
        ("training", baseline, given | out | {"sync_batch_norm": "true"}),
    ]
    first, second = two_processes(commands, runs)
    assert first[0].startswith("FileExistsError: output_dir")
    assert second[0].startswith("OtherProcessError: the first process failed: FileExistsError: output_dir")
    for errors in (first, second):
        assert errors[1].startswith("LeakageError: ")
        assert "teacher_ckpt: there is no file" in errors[2]
        assert "batch_size is 7, of all processes together: it must be a multiple of 2" in errors[3]
        assert "sync_batch_norm wants GPUs, the device is cpu" in errors[4]
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_cache_of_the_teacher_is_filled_by_all_and_read_by_one(two_processes, lab, dataset):
    folder, _, given = lab
    given = given | {"teacher_cache": str(folder / "cache"), "max_epochs": 1, "output_dir": str(folder / "filled")}
    runs = [("training", ["cached_teacher", "multi_gpu_train"], given)]
    assert two_processes(commands, runs) == [[None]] * 2
    kept = [np.load(folder / "cache" / f"epoch-00001-of-{rank}.npz")["keys"].tolist() for rank in range(2)]
    content = json.loads((dataset / "datalist.json").read_text())
    asked = {f"0 {entry['id']}" for split in ("training", "validation") for entry in content[split]}
    left_out = content["numTraining"] % 12 if content["numTraining"] % 12 < 4 else 0
    assert len(kept[0]) + len(kept[1]) == len(asked) - left_out
    assert {key for keys in kept for key in keys} <= asked
    assert not set(kept[0]) & set(kept[1])
    before = {path.name: path.read_bytes() for path in (folder / "cache").glob("*.npz")}
    assert commands([("training", ["cached_teacher"], given | {"output_dir": str(folder / "read")})]) == [None]
    changed = {path.name for path in (folder / "cache").glob("*.npz") if path.read_bytes() != before.get(path.name)}
    assert changed == ({"epoch-00001-of-0.npz"} if left_out else set())  # one process leaves fewer slices out


@pytest.mark.parametrize("names", [["multi_gpu_train"], ["balanced", "multi_gpu_train"],
                                   ["multi_gpu_train", "evaluate", "multi_gpu_evaluate"]])  # fmt: skip
def test_monais_property_check_is_clean(lab, tmp_path, names):
    folder, _, given = lab
    given = SMALL | given | {"output_dir": str(tmp_path), "checkpoint": str(folder / "teacher" / "model.pt")}
    config = files("train", *(["teacher"] if "evaluate" in names else []), *names)
    workflow = ConfigWorkflow(config_file=config, workflow_type="train", **given)
    workflow.initialize()
    assert workflow.check_properties() == []
    loader = workflow.parser.get_parsed_content("train#dataloader")
    assert isinstance(loader.sampler, ProcessShare)
    assert loader.batch_size == 12
    assert isinstance(loader.sampler.sampler, BalancedSampler) is ("balanced" in names)
    workflow.finalize()


def torchrun(names, given):
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "monai.bundle", "run", "training", "--config_file", str(files("train", *names))]
    options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    around = os.environ | {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, cwd=ROOT, env=around, timeout=300
    )


@pytest.mark.slow
def test_torchrun_trains_a_run_that_is_read_like_any_other(lab, tmp_path):
    _, _, given = lab
    given = {**given, "image_size": 48, "batch_size": 8, "max_epochs": 1, "device": "cpu", "output_dir": tmp_path}
    done = torchrun(["baseline", "multi_gpu_train"], given)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("epoch 1/1 |") == 1  # the first process alone speaks
    assert json.loads((tmp_path / "run.json").read_text())["processes"]["world_size"] == 2
    parser = run_config(tmp_path)
    student = parser.get_parsed_content("network_def")
    student.load_state_dict(weights(tmp_path))
    assert "RANK" not in os.environ
    assert parser.get_parsed_content("device") in ("cpu", "cuda:0")
    again = torchrun(["baseline", "multi_gpu_train"], given)
    assert again.returncode != 0
    assert "The reason: FileExistsError: output_dir" in again.stderr


@pytest.mark.slow
def test_an_error_in_one_process_ends_torchrun(lab, tmp_path):
    _, _, given = lab
    rate = "$0.001 if os.environ['RANK'] == '0' else 0.001 / 0"
    given = {**given, "image_size": 48, "batch_size": 8, "max_epochs": 500, "device": "cpu", "output_dir": tmp_path}
    done = torchrun(["baseline", "multi_gpu_train"], given | {"learning_rate": rate})
    assert done.returncode != 0
    assert "The reason: ZeroDivisionError" in done.stderr
    assert not (tmp_path / "model.pt").exists()
