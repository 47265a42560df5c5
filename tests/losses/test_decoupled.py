"""dkd_loss against SciPy, the identity it comes from, and its behaviour at the edges."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from kdmri_monai.losses.decoupled import DecoupledTargets, dkd_loss
from kdmri_monai.losses.soft_targets import kd_loss
from kdmri_monai.losses.terms import DistillationInputs


def reference(student, teacher, labels, alpha, beta, temperature):
    """T^2 mean_b (alpha TCKD + beta NCKD), Zhao 2022."""
    total = 0.0
    for s, t, k in zip(softmax(student / temperature, 1), softmax(teacher / temperature, 1), labels, strict=True):
        target = rel_entr([t[k], 1 - t[k]], [s[k], 1 - s[k]]).sum()
        rest_s, rest_t = np.delete(s, k), np.delete(t, k)
        total += alpha * target + beta * rel_entr(rest_t / rest_t.sum(), rest_s / rest_s.sum()).sum()
    return temperature**2 * total / len(labels)


def arrays(batch=8, classes=3, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return *(rng.normal(size=(2, batch, classes)) * scale), rng.integers(classes, size=batch)


def tensors(*args, **kwargs):
    return tuple(torch.from_numpy(a) for a in arrays(*args, **kwargs))


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 8.0), (0.3, 0.0), (0.0, 2.0)])
@pytest.mark.parametrize(("scale", "temperature"), [(0.1, 1.0), (1.0, 4.0), (5.0, 2.0)])
@pytest.mark.parametrize(("batch", "classes"), [(1, 2), (8, 3), (5, 10)])
def test_equals_the_paper(alpha, beta, scale, temperature, batch, classes):
    student, teacher, labels = arrays(batch, classes, scale)
    got = dkd_loss(*map(torch.from_numpy, (student, teacher, labels)), alpha, beta, temperature)
    expected = reference(student, teacher, labels, alpha, beta, temperature)
    np.testing.assert_allclose(got.item(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_plain_distillation_is_target_part_plus_what_is_left_times_the_other_part(classes):
    """KD = TCKD + (1 - p_y) NCKD, sample by sample."""
    student, teacher, labels = tensors(6, classes, 2.0)
    for b in range(6):
        row = slice(b, b + 1)
        left = 1 - (teacher[b] / 2).softmax(0)[labels[b]].item()
        got = dkd_loss(student[row], teacher[row], labels[row], 1.0, left, 2.0)
        torch.testing.assert_close(got, kd_loss(student[row], teacher[row], 2.0))


def test_the_other_classes_say_nothing_where_there_are_two():
    student, teacher, labels = tensors(8, 2)
    assert dkd_loss(student, teacher, labels, 0.0, 8.0).item() == 0.0
    torch.testing.assert_close(dkd_loss(student, teacher, labels, 1.0, 8.0, 2.0), kd_loss(student, teacher, 2.0))


def test_equal_logits_cost_nothing():
    student, _, labels = tensors()
    assert dkd_loss(student, student, labels).item() == pytest.approx(0.0, abs=1e-12)


def test_gradients_are_right_and_none_reach_the_teacher():
    student, teacher, labels = tensors(4, 4)
    student.requires_grad_()
    teacher.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: dkd_loss(s, teacher.detach(), labels), (student,))
    dkd_loss(student, teacher, labels).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_extreme_logits_stay_finite(dtype, label):
    student = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    loss = dkd_loss(student, -student.detach(), torch.tensor([label]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss > 1e3
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_order_of_batch_and_classes_does_not_matter():
    student, teacher, labels = tensors(8, 4, 2.0)
    expected = dkd_loss(student, teacher, labels)
    batch, classes = torch.randperm(8), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(dkd_loss(student[batch], teacher[batch], labels[batch]), expected)
    moved = classes.argsort()[labels]
    torch.testing.assert_close(dkd_loss(student[:, classes], teacher[:, classes], moved), expected)


def test_the_term_is_the_function():
    student, teacher, labels = tensors()
    got = DecoupledTargets(0.5, 2.0, 3.0)(DistillationInputs(student, teacher, labels))
    assert torch.equal(got, dkd_loss(student, teacher, labels, 0.5, 2.0, 3.0))


def test_few_classes_are_warned_of_once():
    with pytest.warns(UserWarning, match="dkd with 2 classes: .* carries nothing"):
        DecoupledTargets().build([], [], 2)
    with pytest.warns(UserWarning, match="dkd with 3 classes: .* carries one number a sample") as seen:
        DecoupledTargets().build([], [], 3)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DecoupledTargets().build([], [], 4)


def test_wrong_input_is_told():
    student, teacher, labels = tensors()
    with pytest.raises(ValueError, match=r"student logits \(8, 3\), teacher logits \(8, 2\)"):
        dkd_loss(student, teacher[:, :2], labels)
    with pytest.raises(ValueError, match=r"labels are \(7,\)"):
        dkd_loss(student, teacher, labels[:7])
    with pytest.raises(ValueError, match="temperature is 0, it must be positive"):
        dkd_loss(student, teacher, labels, temperature=0)
    with pytest.raises(ValueError, match="temperature is -1, it must be positive"):
        DecoupledTargets(temperature=-1)
