"""Gradient norms of the terms: equal to what a separate backward pass gives, and nothing else changes."""

import json

import pytest
import torch
from monai.engines import IterationEvents

from kdmri_monai.engines import TermGradients
from kdmri_monai.engines.gradients import gradient_norm


def test_norms_equal_a_separate_backward_pass(study):
    run = study(distil=True, epochs=1)
    handler, separate = TermGradients(run.student, every=2), []

    def by_hand(engine):
        values = engine.state.output["weighted_terms"]
        norms = {}
        for name, value in values.items():
            run.student.zero_grad(set_to_none=True)
            if value.requires_grad:
                value.backward(retain_graph=True)
            gradients = [p.grad.flatten() for p in run.student.parameters() if p.grad is not None]
            norms[name] = torch.cat(gradients).norm().item() if gradients else 0.0
        run.student.zero_grad(set_to_none=True)
        separate.append(norms)

    run.trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, by_hand)
    handler.attach(run.trainer)
    run.trainer.run()
    measured = separate[::2]
    for name, norm in run.trainer.state.gradient_norms.items():
        assert norm == pytest.approx(sum(row[name] for row in measured) / len(measured), rel=1e-5)
    assert run.trainer.state.gradient_norms["kd"] > 0
    assert run.trainer.state.gradient_norms.keys() == {"task", "kd", "hcl"}


def test_measuring_changes_no_weight(study):
    plain, measured = study(epochs=2), study(epochs=2)
    TermGradients(measured.student, every=1).attach(measured.trainer)
    plain.trainer.run()
    measured.trainer.run()
    for name, value in plain.student.state_dict().items():
        assert torch.equal(value, measured.student.state_dict()[name]), name


def test_norms_and_weighted_values_are_written_for_every_epoch(study, tmp_path):
    run = study(tmp_path, epochs=2)
    # attached behind the curves, the norms of an epoch would come too late; so by hand, in front
    handler = TermGradients(run.student)
    study_with = study(tmp_path / "with", epochs=2, handlers=[handler])
    handler.network = study_with.student
    run.trainer.run()
    study_with.trainer.run()
    without, rows = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path, tmp_path / "with")
    )
    assert all(row["gradient_norms"].keys() == {"task", "kd", "hcl"} for row in rows)
    assert all("gradient_norms" not in row for row in without)
    for row in rows:
        assert row["weighted"].keys() == {"task", "kd", "hcl"}
        assert row["weighted"]["kd"] == pytest.approx(0.7 * row["training"]["kd"], rel=1e-5)
        assert row["training"]["loss"] == pytest.approx(sum(row["weighted"].values()), rel=1e-5)


def test_a_value_without_gradient_has_norm_zero():
    weight = torch.ones(3, requires_grad=True)
    assert gradient_norm(torch.tensor(1.0), [weight]) == 0
    assert gradient_norm((torch.ones(2, requires_grad=True)).sum(), [weight]) == 0
    assert gradient_norm((2 * weight).sum(), [weight]).item() == pytest.approx(2 * 3**0.5)


def test_every_must_be_positive():
    with pytest.raises(ValueError, match="every is 0 iterations"):
        TermGradients(torch.nn.Linear(1, 1), every=0)
