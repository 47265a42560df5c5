"""The NVFlare job in NVFlare's simulator: two sites, two rounds. Skipped where nvflare is not installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import run

from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.patients import write_phantoms
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions

pytest.importorskip("nvflare", reason="nvflare is not installed")

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "kd" / "configs"
NARROW = {"_target_": "resnet10", "spatial_dims": 2, "n_input_channels": 1, "num_classes": 3, "conv1_t_stride": 2}
SMALL = {
    "image_size": 48,
    "batch_size": 12,
    "device": "cpu",
    "student_def": {**NARROW, "widen_factor": 0.125},
    "teacher_def": {**NARROW, "widen_factor": 0.25},
}

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")]


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Two sites as the script wants them named, with data and teacher, and the file of the small settings."""
    home = tmp_path_factory.mktemp("sites")
    (home / "small.json").write_text(json.dumps(SMALL))
    named = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "excepthook", sys.excepthook)
        for number in (1, 2):
            place = home / f"site-{number}"
            write_phantoms(place / "source", 24, seed=number, slices_per_patient=2, size=64, progress=False)
            options = PrepareOptions(store_size=64, workers=1)
            prepare_dataset(place / "source", place / "data", options, SplitOptions(), progress=False)
            given = {"dataset_dir": str(place / "data"), "output_dir": str(place / "teacher"), "max_epochs": 1}
            files = [str(CONFIGS / f"{name}.json") for name in ("train", "teacher")]
            run(run_id="training", config_file=files, progress=False, **SMALL | given)
            named.append(f"site-{number}={place / 'data'}:{place / 'teacher' / 'model.pt'}")
    return home, named


def simulate(*words):
    command = [sys.executable, "-W", "ignore", str(ROOT / "scripts" / "nvflare" / "job.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_both_sites_are_averaged_in_both_rounds_and_the_mean_evaluates(sites, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    home, named = sites
    overlays = ["--overlay", "terms_kd", "--overlay", home / "small.json"]
    told = simulate(*named, "--out", tmp_path / "federation", "--rounds", 2, *overlays)
    assert told.returncode == 0, told.stderr
    log = told.stdout + told.stderr
    assert log.count("Aggregated 2/2 results") == 2
    assert "excluded as they were non-tensor" not in log
    checkpoint = tmp_path / "federation" / "kdmri" / "server" / "simulate_job" / "app_server" / "FL_global_model.pt"
    weights = torch.load(checkpoint, weights_only=True)["model"]
    assert float(weights["bn1.num_batches_tracked"]) > 0
    files = [str(CONFIGS / f"{name}.json") for name in ("train", "evaluate")]
    given = {"dataset_dir": str(home / "site-1" / "data"), "output_dir": str(tmp_path), "checkpoint": str(checkpoint)}
    run(run_id="evaluating", config_file=files, progress=False, bootstrap_replicates=50, **SMALL | given)
    assert (tmp_path / "test_metrics.json").is_file()


@pytest.mark.parametrize(
    ("site", "told"), [("site-1", "is no site: expected NAME=DATASET:TEACHER"), ("a=D E:T", "cannot be passed")]
)
def test_a_site_that_cannot_be_passed_on_is_refused(tmp_path, site, told):
    answer = simulate(site, "--out", tmp_path)
    assert answer.returncode != 0
    assert told in answer.stderr
