"""``kdmri compare``: run folders in, a table in the terminal, CSV and JSON out."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from kdmri_monai.cli import app
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.predictions_file import write_predictions

SHARES = {"baseline_0": 0.5, "baseline_1": 0.55, "kd_0": 0.85, "kd_1": 0.8, "teacher": 0.84}


@pytest.fixture
def runs(tmp_path):
    """Two seeds of two students, one teacher: 30 patients of 6 slices each."""
    patient = np.repeat(np.arange(30), 6)
    label = patient % 3
    for seed, (name, share) in enumerate(SHARES.items()):
        right = np.random.default_rng(seed).random(len(patient)) < share
        decided = np.where(right, label, (label + 1) % 3)
        names = np.char.mod("p%02d", patient)
        ids = np.arange(len(patient)).astype(str)
        table = Predictions(ids, names, names, label, np.eye(3)[decided] * 0.7 + 0.1)
        folder = tmp_path / name
        write_predictions(table, folder / "test_predictions.csv")
        overlay, _, number = name.partition("_")
        uses = "image; from the tumour mask: distance" if name == "teacher" else "image alone"
        settings = {"seed": int(number or 0), "network_uses": uses, "image_size": 64, "teacher_ckpt": None}
        record = {
            "command": ["monai.bundle", "run", "training", f"--seed={number or 0}", "--output_dir", str(folder)],
            "settings": settings,
            "data": {"fold": 0, "group_rule": "family", "sha256": "same", "training_families": ["q1"]},
        }
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "config.json").write_text(json.dumps({"seed": 0, "output_dir": "runs", "terms": [overlay]}))
    return [tmp_path / name for name in SHARES]


def compare(*words, **environment):
    return CliRunner(env={"COLUMNS": "80", **environment}).invoke(app, ["compare", *map(str, words)])


def test_seeds_become_arms_with_their_values_beside(runs):
    result = compare(*runs)
    assert result.exit_code == 0, result.output
    told = " ".join(result.output.split())
    assert "180 slices" in told
    assert "30 patients" in told
    assert "bootstrap over 30 patient families" in told
    assert "minus that of baseline" in told
    assert "teacher was given the tumour mask: distance" in told
    assert max(map(len, result.output.splitlines())) <= 80
    lines = [line.split() for line in result.output.splitlines()]
    assert ["arm", "seed", "0", "seed", "1"] in lines
    assert [line[0] for line in lines if len(line) == 4 and line[2] == "/"] == ["teacher"]


def test_runs_and_the_reference_can_be_chosen(runs):
    result = compare(*runs, "--by", "run", "--reference", "kd_0")
    assert result.exit_code == 0, result.output
    assert "minus that of kd_0" in " ".join(result.output.split())
    assert "baseline_1" in result.output
    assert "seed 1" not in result.output


def test_csv_and_json_are_written_where_told(runs, tmp_path):
    files = tmp_path / "out" / "c.csv", tmp_path / "out" / "c.json"
    result = compare(*runs, "--csv", files[0], "--json", files[1])
    assert result.exit_code == 0, result.output
    with files[0].open(newline="") as file:
        lines = list(csv.DictReader(file))
    tree = json.loads(files[1].read_text())
    assert [line["name"] for line in lines] == [row["name"] for row in tree["rows"]] == ["baseline", "kd", "teacher"]
    assert [line["runs"] for line in lines] == ["2", "2", "1"]
    for line, row in zip(lines, tree["rows"], strict=True):
        assert float(line["slices_accuracy"]) == row["slices"]["metrics"]["accuracy"]["value"]
        assert len(row["runs"]) == int(line["runs"])
    assert tree["rows"][1]["slices"]["includes_zero"] is False
    assert tree["rows"][1]["slices"]["p_holm"] < 0.05


def test_what_cannot_be_compared_ends_in_one_line_and_writes_nothing(runs, tmp_path):
    lines = (runs[3] / "test_predictions.csv").read_text().splitlines()
    (runs[3] / "test_predictions.csv").write_text("\n".join(lines[:-6]) + "\n")
    result = compare(*runs, "--json", tmp_path / "c.json")
    assert result.exit_code == 1
    assert "kd (kd_1) against baseline: patients differ: 1 missing (p29)" in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "c.json").exists()
    result = compare(*runs, tmp_path / "gone")
    assert (result.exit_code, result.output) == (1, f"error: there is no run folder {tmp_path / 'gone'}\n")
