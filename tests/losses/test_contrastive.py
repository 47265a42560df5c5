"""infonce_loss against scikit-learn's cosines and SciPy's log-softmax."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.metrics.pairwise import cosine_similarity

from kdmri_monai.losses.contrastive import ContrastiveFeatures, infonce_loss
from kdmri_monai.losses.terms import DistillationInputs


def reference(student, teacher, temperature, labels=None):
    """Equation 4 of van den Oord 2018, sample by sample."""
    scores = cosine_similarity(student, teacher) / temperature
    losses = []
    for i, row in enumerate(scores):
        kept = [j for j in range(len(row)) if j == i or labels is None or labels[j] != labels[i]]
        losses.append(logsumexp(row[kept]) - row[i])
    return np.mean(losses)


def features(batch=6, channels=5, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, batch, channels)) * scale


def given(student, teacher, labels=None):
    logits = torch.zeros(len(student[0]), 3)
    labels = torch.zeros(len(logits), dtype=torch.long) if labels is None else labels
    return DistillationInputs(logits, logits, labels, student, teacher)


@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
@pytest.mark.parametrize(("batch", "channels", "scale"), [(1, 3, 1.0), (6, 5, 1e-3), (9, 2, 1e3)])
def test_equals_the_formula(batch, channels, scale, temperature, with_labels):
    student, teacher = features(batch, channels, scale)
    labels = np.arange(batch) % 3 if with_labels else None
    got = infonce_loss(
        torch.from_numpy(student),
        torch.from_numpy(teacher),
        temperature,
        None if labels is None else torch.from_numpy(labels),
    )
    np.testing.assert_allclose(got.item(), reference(student, teacher, temperature, labels), rtol=1e-9, atol=1e-12)


def test_features_that_say_nothing_cost_the_logarithm_of_the_batch():
    teacher = torch.ones(8, 4)
    assert infonce_loss(torch.randn(8, 4), teacher).item() == pytest.approx(math.log(8), rel=1e-5)


def test_samples_that_are_all_told_apart_cost_nothing():
    assert infonce_loss(torch.eye(4), 3 * torch.eye(4), temperature=0.01).item() < 1e-6


def test_a_batch_of_one_class_has_no_negatives_where_they_are_left_out():
    student, teacher = (torch.from_numpy(f).requires_grad_() for f in features())
    loss = infonce_loss(student, teacher, labels=torch.zeros(6, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert (student.grad == 0).all()


@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1, 1, 2, 0, 1])])
def test_gradients_are_right_and_none_reach_the_teacher(labels):
    student, teacher = (torch.from_numpy(f).requires_grad_() for f in features())
    assert torch.autograd.gradcheck(lambda s: infonce_loss(s, teacher.detach(), 0.2, labels), (student,))
    infonce_loss(student, teacher, labels=labels).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("level", [0.0, 1e4])
def test_large_and_empty_features_stay_finite(dtype, level):
    student = (torch.randn(4, 3) * level).to(dtype).requires_grad_()
    loss = infonce_loss(student, (torch.randn(4, 3) * level).to(dtype), labels=torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_order_of_the_batch_does_not_matter():
    student, teacher = (torch.from_numpy(f) for f in features(8))
    order, labels = torch.randperm(8), torch.arange(8) % 3
    got = infonce_loss(student[order], teacher[order], labels=labels[order])
    torch.testing.assert_close(got, infonce_loss(student, teacher, labels=labels))


@pytest.mark.parametrize("same_class_negatives", [True, False])
def test_the_term_is_the_mean_over_its_pairs_and_learns_on_the_student_side_only(same_class_negatives):
    student = [torch.randn(6, 4, 3, 3, requires_grad=True), torch.randn(6, 5, requires_grad=True)]
    teacher = [torch.randn(6, 7, requires_grad=True), torch.randn(6, 3, 2, 2, requires_grad=True)]
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    term = ContrastiveFeatures(0.15, same_class_negatives)
    term.build([f.shape[1:] for f in student], [f.shape[1:] for f in teacher], 3)
    value = term(given(student, teacher, labels))
    used = None if same_class_negatives else labels
    first = infonce_loss(term.projectors[0](student[0].mean((2, 3))), teacher[0], 0.15, used)
    second = infonce_loss(term.projectors[1](student[1]), teacher[1].mean((2, 3)), 0.15, used)
    torch.testing.assert_close(value, (first + second) / 2)
    value.backward()
    assert all(f.grad is not None for f in student)
    assert all(f.grad is None for f in teacher)
    assert all(p.grad is not None for p in term.parameters())


def test_wrong_input_is_told():
    with pytest.raises(ValueError, match=r"student features \(2, 3\), teacher features \(2, 4\)"):
        infonce_loss(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="temperature is 0, it must be positive"):
        ContrastiveFeatures(0)
    with pytest.raises(ValueError, match="at least one"):
        ContrastiveFeatures().build([], [], 3)
    with pytest.raises(RuntimeError, match=r"ContrastiveFeatures.build must be called"):
        ContrastiveFeatures()(given([torch.zeros(2, 4)], [torch.zeros(2, 4)]))
