"""A comparison as CSV and JSON holds what was computed, and the files that it was computed from."""

import csv
import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from kdmri_monai.evaluation.comparison import compare_runs
from kdmri_monai.evaluation.comparison_files import includes_zero, write_comparison_csv, write_comparison_json
from kdmri_monai.evaluation.intervals import Interval
from kdmri_monai.evaluation.predictions_file import write_predictions
from kdmri_monai.evaluation.resampling import Resampling


@pytest.fixture
def comparison(predictions, tmp_path):
    """Two seeds of two arms; ``kd`` was given the mask and has learned from a patient family."""
    rng = np.random.default_rng(0)
    for name in ("baseline", "kd"):
        for seed in range(2):
            noise = rng.dirichlet(np.ones(3), len(predictions))
            folder = tmp_path / "runs" / f"{name}_{seed}"
            table = replace(predictions, probabilities=(predictions.probabilities + noise) / 2)
            write_predictions(table, folder / "test_predictions.csv")
            record = {"name": name, "settings": {"seed": seed}, "data": {"fold": 0}, "git_revision": "abc"}
            if name == "kd":
                record["settings"]["network_uses"] = "image; from the tumour mask: distance"
                record["data"]["training_families"] = [str(predictions.family[0])]
            (folder / "run.json").write_text(json.dumps(record))
    return compare_runs(sorted((tmp_path / "runs").iterdir()), resampling=Resampling(60, 0.9, 5), by="arm")


def bounds(interval):
    return {"value": interval.estimate, "low": interval.low, "high": interval.high}


def test_json_holds_everything(comparison, tmp_path):
    write_comparison_json(comparison, tmp_path / "new" / "c.json")
    tree = json.loads((tmp_path / "new" / "c.json").read_text())
    assert (tree["format"], tree["split"], tree["by"]) == ("kdmri-comparison-1", "test", "arm")
    assert (tree["reference"], tree["metric"], tree["fold_count"]) == ("baseline", "balanced_accuracy", None)
    assert {name: tree["interval"][name] for name in ("level", "replicates", "seed")} == {
        "level": 0.9,
        "replicates": 60,
        "seed": 5,
    }
    assert tree["test"]["replicates"] == 60
    for row, written in zip(comparison.rows, tree["rows"], strict=True):
        assert {name: written[name] for name in ("name", "given", "leaky", "seeds", "folds")} == {
            "name": row.name,
            "given": row.given,
            "leaky": row.leaky,
            "seeds": [0, 1],
            "folds": [0],
        }
        for name in ("slices", "patients"):
            level, found = getattr(row, name), written[name]
            assert (found["n"], found["families"]) == (level.n, 39)
            assert found["metrics"] == {metric: bounds(value) for metric, value in level.metrics.items()}
            assert found["seeds"] == [{"seed": seed, **level.by_seed[seed]} for seed in range(2)]
    reference, other = tree["rows"]
    assert (reference["slices"]["differences"], reference["slices"]["p"]) == (None, None)
    assert other["slices"]["differences"]["balanced_accuracy"] == bounds(comparison.rows[1].slices.difference)
    assert other["patients"]["p_holm"] == comparison.rows[1].patients.p_holm
    assert other["given"] == "the tumour mask: distance"
    assert "patient families were trained on" in other["leaky"]


def test_json_names_the_files_of_every_run_with_their_checksums(comparison, tmp_path):
    (tmp_path / "runs" / "kd_1" / "model.pt").write_bytes(b"weights")
    write_comparison_json(comparison, tmp_path / "c.json")
    runs = json.loads((tmp_path / "c.json").read_text())["rows"][1]["runs"]
    assert [(run["seed"], run["fold"], run["revision"]) for run in runs] == [(0, 0, "abc"), (1, 0, "abc")]
    for run, weights in zip(runs, ((), ("model.pt",)), strict=True):
        files = {"test_predictions.csv", "run.json", *weights}
        folder = tmp_path / "runs" / f"kd_{run['seed']}"
        assert run["folder"] == str(folder)
        assert run["sha256"] == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}


def test_csv_has_a_line_a_row_with_both_levels(comparison, tmp_path):
    write_comparison_csv(comparison, tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(newline="") as file:
        baseline, kd = csv.DictReader(file)
    row = comparison.rows[1]
    assert (kd["name"], kd["reference"], kd["runs"], kd["seeds"], kd["folds"]) == ("kd", "baseline", "2", "0 1", "0")
    for name in ("slices", "patients"):
        level = getattr(row, name)
        assert int(kd[f"{name}_n"]) == level.n
        assert float(kd[f"{name}_macro_f1_low"]) == level.macro_f1.low
        assert float(kd[f"{name}_difference"]) == level.difference.estimate
        assert float(kd[f"{name}_difference_high"]) == level.difference.high
        assert float(kd[f"{name}_p_holm"]) == level.p_holm
        of_seeds = [float(value) for value in kd[f"{name}_balanced_accuracy_of_seeds"].split()]
        assert of_seeds == [seed["balanced_accuracy"] for seed in level.by_seed]
        assert [baseline[f"{name}_{cell}"] for cell in ("difference", "difference_low", "p", "p_holm")] == [""] * 4


def test_a_file_that_cannot_be_written_leaves_the_old_one(comparison, tmp_path):
    (tmp_path / "c.json").write_text("old")
    broken = replace(comparison, fold_count=math.inf)
    with pytest.raises(ValueError, match="JSON"):
        write_comparison_json(broken, tmp_path / "c.json")
    assert (tmp_path / "c.json").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.json", "runs"]


@pytest.mark.parametrize(
    ("low", "high", "may_be_none"),
    [(-0.1, 0.2, True), (0.01, 0.2, False), (-0.2, -0.01, False), (0.0, 0.2, True), (math.nan, math.nan, True)],
)
def test_a_difference_that_may_be_none_is_known(low, high, may_be_none):
    assert includes_zero(Interval(0.1, low, high, 0.95, 100, 9)) == may_be_none
