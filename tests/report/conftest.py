"""A small study as training, evaluation and examination leave it: phantoms, and runs whose answers are made up."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from monai.bundle import ConfigParser

from kdmri_monai.data.datalist import load_split, read_classes
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.patients import write_phantoms
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.evaluation.metrics_file import evaluate_predictions, write_metrics
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.predictions_file import write_predictions
from kdmri_monai.evaluation.subject import file_digest

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "kd" / "configs"
OVERLAYS = {"teacher": ["teacher"], "baseline": ["baseline"], "distilled": []}
SKILL = {"teacher": 3.0, "baseline": 0.4, "distilled": 1.5}
EPOCHS = 3


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """A dataset folder of phantoms, 32 pixels."""
    home = tmp_path_factory.mktemp("phantoms")
    write_phantoms(home / "source", patients=30, size=64, progress=False)
    prepare_dataset(
        home / "source", home / "D", PrepareOptions(store_size=32, workers=1), SplitOptions(), progress=False
    )
    return home / "D"


@pytest.fixture(scope="session")
def study(tmp_path_factory, phantoms):
    """``folders`` of a teacher, two baselines and two distilled students, and ``write_run`` for more."""
    home = tmp_path_factory.mktemp("study")
    names = ["teacher", *(f"{arm}_{seed}" for arm in ("baseline", "distilled") for seed in range(2))]
    folders = [write_run(home / name, phantoms) for name in names]
    return SimpleNamespace(home=home, folders=folders, dataset=phantoms, write_run=write_run)


def write_run(folder, dataset, skill=None, seed=None, **record):
    """A run folder of the arm that its name begins with; ``skill`` says how often its made-up answers are right."""
    arm, _, number = folder.name.partition("_")
    seed = int(number or 0) if seed is None else seed
    folder.mkdir(parents=True)
    files = [str(CONFIGS / f"{name}.json") for name in ("train", *OVERLAYS.get(arm, []))]
    (folder / "config.json").write_text(json.dumps(ConfigParser.load_config_files(files)))
    (folder / "run.json").write_text(json.dumps(run_record(folder, dataset, arm, seed) | record))
    skill = SKILL.get(arm, 0.5) if skill is None else skill
    (folder / "metrics.jsonl").write_text("".join(map(line_of, range(1, EPOCHS + 1))))
    for split in ("validation", "test"):
        table = answers(dataset, split, skill, seed)
        write_predictions(table, folder / f"{split}_predictions.csv")
    write_metrics(evaluate_predictions(table, replicates=50), folder / "test_metrics.json")
    return folder


def run_record(folder, dataset, arm, seed):
    families = sorted({entry["family"] for entry in load_split(dataset / "datalist.json", "training")})
    taught = str(folder.parent / "teacher" / "model.pt") if arm == "distilled" else None
    return {
        "command": ["monai.bundle", "run", "training", "--seed", str(seed)],
        "settings": {"seed": seed, "network": "ResNet", "parameters": 1234, "image_size": 32, "max_epochs": EPOCHS,
                     "batch_size": 8, "learning_rate": 0.001, "weight_decay": 0.05, "ema_momentum": 0.005,
                     "teacher_ckpt": taught, "network_uses": "image alone"},
        "data": {"datalist": str(dataset / "datalist.json"), "sha256": file_digest(dataset / "datalist.json"),
                 "fold": 0, "group_rule": "family", "training_families": families},
        "environment": {"python": "3.11", "platform": "Linux", "packages": {"monai": "1.6.1"}, "threads": 1,
                        "cuda_device": None},
        "git_revision": "abc123",
        "started": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip


def answers(dataset, split, skill, seed):
    """Probabilities that lean to the truth by ``skill``, and by chance."""
    entries = load_split(dataset / "datalist.json", split)
    label = np.array([entry["label"] for entry in entries])
    classes = tuple(read_classes(dataset / "datalist.json"))
    logits = np.random.default_rng(seed).normal(size=(len(label), len(classes)))
    logits[np.arange(len(label)), label] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = ([str(entry[key]) for entry in entries] for key in ("id", "patient", "family"))
    return Predictions(*names, label, probabilities, classes)


def line_of(epoch):
    part = {"accuracy": 0.5 + 0.1 * epoch, "loss": 1.0 / epoch}
    row = {
        "epoch": epoch,
        "lr": 0.001,
        "training": part | {"task": 1.0 / epoch, "kd": 2.0 / epoch},
        "weighted": {"task": 1.0 / epoch, "kd": 2.0 / epoch},
        "validation": part | {"balanced_accuracy": 0.4 + 0.1 * epoch},
        "n": {"training": 40, "validation": 12},
    }
    return json.dumps(row) + "\n"
