"""Curves: what is written is what was measured."""

import json

import numpy as np
import pytest
import torch
from ignite.engine import Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn.functional import cross_entropy

from kdmri_monai.losses import kd_loss


@pytest.fixture
def finished(study, tmp_path):
    run = study(tmp_path, epochs=3)
    run.trainer.run()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    return run, tmp_path, [json.loads(line) for line in lines]


def test_every_epoch_has_every_number(finished):
    _, _, rows = finished
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert row["training"].keys() == {"loss", "task", "kd", "hcl", "accuracy"}
        assert row["validation"].keys() == {"loss", "accuracy", "balanced_accuracy", "task", "kd", "hcl"} - {"task"}
        assert row["n"] == {"training": 40, "validation": 18}
    assert [row["lr"] for row in rows] == pytest.approx([1e-2, 8e-3, 6.4e-3])


def test_validation_numbers_belong_to_the_weights_after_the_epoch(finished):
    run, _, rows = finished
    run.student.eval()
    held_out = run.evaluator.data_loader.dataset.data
    images, labels = torch.stack([i["image"] for i in held_out]), torch.tensor([i["label"] for i in held_out])
    with torch.no_grad():
        logits, taught = run.student(images), run.teacher(images)
    last = rows[-1]["validation"]
    assert last["loss"] == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-5)
    assert last["accuracy"] == pytest.approx(np.mean((logits.argmax(1) == labels).numpy()))
    recalls = [(logits.argmax(1)[labels == k] == k).float().mean().item() for k in range(3)]
    assert last["balanced_accuracy"] == pytest.approx(np.mean(recalls), rel=1e-5)
    assert last["kd"] == pytest.approx(kd_loss(logits, taught, 2.0).item(), rel=1e-5)


def test_training_loss_is_the_mean_over_the_samples(study, tmp_path):
    seen = []
    run = study(tmp_path, epochs=1)
    run.trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda e: seen.append((e.state.output["loss"].detach().item(), len(e.state.output["label"]))),
    )
    run.trainer.run()
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    losses, samples = zip(*seen, strict=True)
    assert row["training"]["loss"] == pytest.approx(np.average(losses, weights=samples), rel=1e-6)


def test_tensorboard_shows_the_same_numbers(finished):
    _, folder, rows = finished
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    for part in ("training", "validation"):
        for name in rows[0][part]:
            values = [event.value for event in board.Scalars(f"{name}/{part}")]
            assert values == pytest.approx([row[part][name] for row in rows], rel=1e-6)
    assert [event.step for event in board.Scalars("lr")] == [1, 2, 3]
