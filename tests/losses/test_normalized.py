"""nkd_loss against SciPy, its limits, and its behaviour at the edges."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from kdmri_monai.losses.decoupled import dkd_loss
from kdmri_monai.losses.normalized import NormalizedTargets, nkd_loss
from kdmri_monai.losses.terms import DistillationInputs


def reference(student, teacher, labels, gamma, temperature):
    """-t_y log s_y - gamma T^2 sum_{k != y} n(t)_k log n(s)_k, Yang 2023, mean over the batch."""
    total = 0.0
    for s, t, k in zip(student, teacher, labels, strict=True):
        total -= softmax(t)[k] * log_softmax(s)[k]
        rest_s, rest_t = (np.delete(softmax(z / temperature), k) for z in (s, t))
        total -= gamma * temperature**2 * np.sum(rest_t / rest_t.sum() * np.log(rest_s / rest_s.sum()))
    return total / len(labels)


def arrays(batch=8, classes=3, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return *(rng.normal(size=(2, batch, classes)) * scale), rng.integers(classes, size=batch)


def tensors(*args, **kwargs):
    return tuple(torch.from_numpy(a) for a in arrays(*args, **kwargs))


@pytest.mark.parametrize("gamma", [0.0, 1.5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize(("batch", "classes"), [(1, 2), (8, 3), (5, 10)])
def test_equals_the_paper(gamma, temperature, scale, batch, classes):
    student, teacher, labels = arrays(batch, classes, scale)
    got = nkd_loss(*map(torch.from_numpy, (student, teacher, labels)), gamma, temperature)
    np.testing.assert_allclose(got.item(), reference(student, teacher, labels, gamma, temperature), rtol=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_teacher_that_is_sure_of_the_label_gives_cross_entropy(classes):
    student, _, labels = tensors(6, classes)
    teacher = 1e3 * torch.nn.functional.one_hot(labels, classes).double()
    expected = torch.nn.functional.cross_entropy(student, labels)
    torch.testing.assert_close(nkd_loss(student, teacher, labels, gamma=0.0), expected)


def test_the_other_classes_differ_from_dkd_by_the_entropy_of_the_teacher():
    student, teacher, labels = tensors(8, 5)
    others = nkd_loss(student, teacher, labels, 1.0, 2.0) - nkd_loss(student, teacher, labels, 0.0, 2.0)
    rest = [np.delete(t, k) for t, k in zip(teacher.numpy(), labels.numpy(), strict=True)]
    spread = 4 * np.mean(entropy(softmax(np.array(rest) / 2, axis=1), axis=1))
    assert others.item() == pytest.approx(dkd_loss(student, teacher, labels, 0.0, 1.0, 2.0).item() + spread)


def test_the_other_classes_say_nothing_where_there_are_two():
    student, teacher, labels = tensors(8, 2)
    torch.testing.assert_close(nkd_loss(student, teacher, labels, 9.0), nkd_loss(student, teacher, labels, 0.0))


def test_gradients_are_right_and_none_reach_the_teacher():
    student, teacher, labels = tensors(4, 4)
    student.requires_grad_()
    teacher.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: nkd_loss(s, teacher.detach(), labels, 1.5, 2.0), (student,))
    nkd_loss(student, teacher, labels).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_extreme_logits_stay_finite(dtype, label):
    student = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    loss = nkd_loss(student, -student.detach(), torch.tensor([label]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss > 1e3
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_order_of_batch_and_classes_does_not_matter():
    student, teacher, labels = tensors(8, 4, 2.0)
    expected = nkd_loss(student, teacher, labels)
    batch, classes = torch.randperm(8), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(nkd_loss(student[batch], teacher[batch], labels[batch]), expected)
    moved = classes.argsort()[labels]
    torch.testing.assert_close(nkd_loss(student[:, classes], teacher[:, classes], moved), expected)


def test_the_term_is_the_function():
    student, teacher, labels = tensors()
    got = NormalizedTargets(0.5, 3.0)(DistillationInputs(student, teacher, labels))
    assert torch.equal(got, nkd_loss(student, teacher, labels, 0.5, 3.0))


def test_few_classes_are_warned_of_once():
    with pytest.warns(UserWarning, match="nkd with 2 classes: .* is always 0"):
        NormalizedTargets().build([], [], 2)
    with pytest.warns(UserWarning, match="nkd with 3 classes: .* compares one number a sample") as seen:
        NormalizedTargets().build([], [], 3)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NormalizedTargets().build([], [], 4)


def test_wrong_input_is_told():
    student, teacher, labels = tensors()
    with pytest.raises(ValueError, match=r"student logits \(8, 3\), teacher logits \(8, 2\)"):
        nkd_loss(student, teacher[:, :2], labels)
    with pytest.raises(ValueError, match=r"labels are \(7,\)"):
        nkd_loss(student, teacher, labels[:7])
    with pytest.raises(ValueError, match="temperature is 0, it must be positive"):
        nkd_loss(student, teacher, labels, temperature=0)
    with pytest.raises(ValueError, match="temperature is -1, it must be positive"):
        NormalizedTargets(temperature=-1)
