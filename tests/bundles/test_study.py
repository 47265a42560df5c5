"""``kdmri study`` from the command to the table, on real runs of the bundle."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kdmri_monai.cli import app

SETTINGS = {"image_size": 64, "max_epochs": 1, "batch_size": 12, "device": "cpu", "student_def#widen_factor": 0.125}


def study(dataset, home, *more):
    content = {
        "name": "tiny",
        "folds": [0, 1],
        "seeds": [0],
        "settings": SETTINGS,
        "arms": {
            "broken": {"overlays": ["baseline"], "settings": {"student_def#n_input_channels": 7}},
            "student": {"overlays": ["baseline"]},
        },
        "reference": "student",
    }
    (home / "tiny.json").write_text(json.dumps(content))
    words = [
        "study",
        str(home / "tiny.json"),
        "--data",
        str(dataset),
        "--out",
        str(home / "runs"),
        "--jobs",
        "2",
        *more,
    ]
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"})


@pytest.mark.slow
def test_a_study_finishes_what_it_can_tells_what_it_cannot_and_repeats_nothing(dataset, tmp_path):
    home = tmp_path
    told = study(dataset, home, "--dry-run")
    assert told.exit_code == 0, told.output
    assert "fold1/student_0" in told.output
    assert not (home / "runs").exists()

    told = study(dataset, home, "--results", str(home / "results"))
    assert told.exit_code == 1
    assert told.output.count("failed fold") == 2
    assert "not finished: fold0/broken_0" in told.output
    assert "left out, not complete: broken" in told.output
    comparison = json.loads((home / "runs" / "comparison.json").read_text())
    (row,) = comparison["rows"]
    assert row["name"] == "student"
    tested = [
        json.loads((home / "runs" / f"fold{fold}" / "student_0" / "test_metrics.json").read_text()) for fold in (0, 1)
    ]
    assert row["slices"]["n"] == sum(one["slices"]["n"] for one in tested)
    record = json.loads((home / "runs" / "study.json").read_text())
    assert record["runs"]["fold0/broken_0"]["failure"]
    assert record["runs"]["fold1/student_0"]["stage"] == "finished"

    page = (home / "results" / "README.md").read_text()
    assert "fold0/broken_0" in page
    assert "Given groups=1" in page
    results = json.loads((home / "results" / "results.json").read_text())
    assert {(run["arm"], run["fold"]) for run in results["runs"]} == {("student", 0), ("student", 1)}
    assert not any(str(home) in path.read_text() for path in (home / "results").glob("*.json"))

    before = {path: path.stat().st_mtime_ns for path in Path(home / "runs").rglob("model.pt")}
    told = study(dataset, home, "--arms", "student")
    assert told.exit_code == 0, told.output
    assert "started" not in told.output
    assert before == {path: path.stat().st_mtime_ns for path in Path(home / "runs").rglob("model.pt")}


def test_an_unknown_arm_and_a_fold_that_is_not_there_are_named(dataset, tmp_path):
    told = study(dataset, tmp_path, "--arms", "other")
    assert told.exit_code == 1
    assert "has no arms other; it has broken, student" in told.output
    told = study(dataset, tmp_path, "--folds", "7")
    assert "has no folds 7; it has 0, 1" in told.output
