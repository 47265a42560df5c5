"""What a model of all patients is worth, from runs on folds: pooled, and of the same recipe only."""

import hashlib
import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from typer.testing import CliRunner

from kdmri_monai.cli import app
from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.folds_estimate import estimate_from_folds
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.predictions_file import read_predictions, write_predictions

CLASSES = ("meningioma", "glioma", "pituitary tumour")
CONFIG = {"max_epochs": 3, "network_def": {"_target_": "resnet10"}}


def a_run(folder, fold, folds=2, seed=0, config=CONFIG):
    """A run folder whose ten patients belong to its fold alone; ``fold`` None is one of all patients."""
    folder.mkdir()
    datalist = json.dumps({"folds": None if fold is None else folds, "seed": 0, "fold": fold})
    (folder / "datalist.json").write_text(datalist)
    sha256 = hashlib.sha256(datalist.encode()).hexdigest()
    data = {"datalist": str(folder / "datalist.json"), "fold": fold, "group_rule": "family", "sha256": sha256}
    (folder / "run.json").write_text(json.dumps({"settings": {"seed": seed}, "data": data, "command": []}))
    (folder / "config.json").write_text(json.dumps(config))
    if fold is not None:
        rng = np.random.default_rng(fold)
        label = np.arange(30) % 3
        patient = np.array([f"{fold}P{number % 15:02d}" for number in range(30)])
        probabilities = rng.dirichlet(np.ones(3), 30)
        ids = np.array([f"{fold}-{number}" for number in range(30)])
        write_predictions(
            Predictions(ids, patient, patient, label, probabilities, CLASSES), folder / "test_predictions.csv"
        )
    return folder


@pytest.fixture
def whole(tmp_path):
    return a_run(tmp_path / "whole", None)


def test_the_folds_are_pooled_into_the_run(whole, tmp_path):
    folds = [a_run(tmp_path / f"fold{number}", number) for number in (1, 0)]
    path = estimate_from_folds(whole, folds, replicates=50)
    tables = [read_predictions(folder / "test_predictions.csv") for folder in folds]
    expected = balanced_accuracy_score(
        np.concatenate([table.label for table in tables]), np.concatenate([table.prediction for table in tables])
    )
    metrics = json.loads(path.read_text())
    assert metrics["slices"]["balanced_accuracy"]["value"] == pytest.approx(expected)
    assert metrics["slices"]["n"] == 60
    assert metrics["provenance"]["runs"] == ["fold 0, seed 0", "fold 1, seed 0"]
    assert len(read_predictions(whole / "folds_predictions.csv")) == 60


def test_the_command_tells_slices_and_patients(whole, tmp_path):
    folds = [str(a_run(tmp_path / f"fold{number}", number)) for number in (0, 1)]
    told = CliRunner().invoke(app, ["estimate", str(whole), *folds, "--replicates", "50"])
    assert told.exit_code == 0, told.output
    assert "slices (n = 60): balanced accuracy" in told.output
    assert "patients (n = 30)" in told.output


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config": CONFIG | {"max_epochs": 4}}, "was not trained as"),
        ({"seed": 1}, "seeds 0, 1"),
        ({"folds": 3}, "number of folds"),
    ],
)
def test_runs_of_another_recipe_seed_or_split_are_refused(whole, tmp_path, changed, message):
    folds = [a_run(tmp_path / "fold0", 0), a_run(tmp_path / "fold1", 1, **changed)]
    with pytest.raises(ComparisonError, match=message):
        estimate_from_folds(whole, folds)
    assert not (whole / "folds_metrics.json").exists()


def test_a_missing_fold_is_refused(whole, tmp_path):
    with pytest.raises(ComparisonError, match="runs of 1 folds, the data were split into 2"):
        estimate_from_folds(whole, [a_run(tmp_path / "fold0", 0)])
    with pytest.raises(ComparisonError, match="no run of a fold"):
        estimate_from_folds(whole, [])
