"""ofa_loss against NumPy, its limit of soft cross-entropy, and the exits that learn."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from kdmri_monai.losses.one_for_all import OneForAll, ofa_loss
from kdmri_monai.losses.terms import DistillationInputs


def reference(student, teacher, labels, exponent, temperature):
    """-T^2 mean_b sum_k [(p_k + 1_ky)^e - 1_ky] log s_k, Hao 2023."""
    p, log_s = softmax(teacher / temperature, axis=1), log_softmax(student / temperature, axis=1)
    total = 0.0
    for b, label in enumerate(labels):
        for k in range(p.shape[1]):
            weight = (1 + p[b, k]) ** exponent - 1 if k == label else p[b, k] ** exponent
            total -= weight * log_s[b, k]
    return temperature**2 * total / len(labels)


def arrays(batch=8, classes=3, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return *(rng.normal(size=(2, batch, classes)) * scale), rng.integers(classes, size=batch)


def tensors(*args, **kwargs):
    return tuple(torch.from_numpy(a) for a in arrays(*args, **kwargs))


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize(("batch", "classes"), [(1, 2), (8, 3), (5, 10)])
def test_equals_the_formula(exponent, temperature, scale, batch, classes):
    student, teacher, labels = arrays(batch, classes, scale)
    got = ofa_loss(*map(torch.from_numpy, (student, teacher, labels)), exponent, temperature)
    np.testing.assert_allclose(got.item(), reference(student, teacher, labels, exponent, temperature), rtol=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_exponent_one_is_soft_cross_entropy_whatever_the_label(classes):
    student, teacher, labels = tensors(8, classes)
    expected = torch.nn.functional.cross_entropy(student, teacher.softmax(1))
    for label in (labels, torch.zeros_like(labels)):
        torch.testing.assert_close(ofa_loss(student, teacher, label, exponent=1.0), expected)


def test_a_teacher_that_is_sure_weighs_the_label_by_two_to_the_exponent_less_one():
    student, _, labels = tensors(6, 3)
    teacher = 1e3 * torch.nn.functional.one_hot(labels, 3).double()
    expected = 3 * torch.nn.functional.cross_entropy(student, labels)
    torch.testing.assert_close(ofa_loss(student, teacher, labels, exponent=2.0), expected)


def test_gradients_are_right_and_none_reach_the_teacher():
    student, teacher, labels = tensors(4, 4)
    student.requires_grad_()
    teacher.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: ofa_loss(s, teacher.detach(), labels, 1.5, 2.0), (student,))
    ofa_loss(student, teacher, labels).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("exponent", [0.5, 1.5])
def test_extreme_logits_stay_finite(dtype, exponent):
    student = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    loss = ofa_loss(student, -student.detach(), torch.tensor([1]), exponent)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss > 1e3
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_order_of_batch_and_classes_does_not_matter():
    student, teacher, labels = tensors(8, 4, 2.0)
    expected = ofa_loss(student, teacher, labels)
    batch, classes = torch.randperm(8), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(ofa_loss(student[batch], teacher[batch], labels[batch]), expected)
    moved = classes.argsort()[labels]
    torch.testing.assert_close(ofa_loss(student[:, classes], teacher[:, classes], moved), expected)


def given(shapes, batch=4, classes=3, seed=0):
    torch.manual_seed(seed)
    student, teacher, labels = (t.float() if t.is_floating_point() else t for t in tensors(batch, classes))
    return DistillationInputs(student, teacher, labels, [torch.randn(batch, *s, requires_grad=True) for s in shapes])


def built(shapes, classes=3, **arguments):
    torch.manual_seed(0)
    term = OneForAll(**arguments)
    term.build([torch.Size(s) for s in shapes], [], classes)
    return term


@pytest.mark.parametrize("shapes", [[(4, 9, 7), (6, 3, 3), (8, 1, 1)], [(4, 5, 6, 3)], [(12,)], [(4, 8, 8), (16,)]])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_exits_of_maps_volumes_and_vectors_learn_with_the_student(shapes, classes):
    term, inputs = built(shapes, classes), given(shapes, 4, classes)
    value = term(inputs)
    value.backward()
    assert value.ndim == 0
    assert all(f.grad.abs().sum() > 0 for f in inputs.student_features)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in term.parameters())


def test_the_value_is_the_sum_over_exits_and_output():
    shapes = [(4, 8, 8), (6, 4, 4)]
    term, inputs = built(shapes, exponent=1.2, temperature=2.0), given(shapes)
    logits = [make(f) for make, f in zip(term.exits, inputs.student_features, strict=True)]
    values = [ofa_loss(z, inputs.teacher_logits, inputs.labels, 1.2, 2.0) for z in [*logits, inputs.student_logits]]
    torch.testing.assert_close(term(inputs), sum(values))
    term.output = False
    torch.testing.assert_close(term(inputs), sum(values[:-1]))


def test_a_batch_of_one_can_train():
    term = built([(4, 1, 1)]).train()
    assert torch.isfinite(term(given([(4, 1, 1)], batch=1)))


def test_half_precision_features_are_taken():
    inputs = given([(4, 8, 8)])
    halves = [f.detach().bfloat16() for f in inputs.student_features]
    value = built([(4, 8, 8)])(DistillationInputs(inputs.student_logits, inputs.teacher_logits, inputs.labels, halves))
    assert value.dtype == torch.float32
    assert torch.isfinite(value)


def test_training_brings_the_exits_to_the_teachers_answers():
    """The least value is the teacher's entropy, which the exits come near on features that hold the answer."""
    torch.manual_seed(0)
    teacher = 3 * torch.randn(32, 3)
    maps = teacher[:, :, None, None].expand(-1, -1, 4, 4) + 0.1 * torch.randn(32, 3, 4, 4)
    inputs = DistillationInputs(torch.zeros(32, 3), teacher, teacher.argmax(1), [maps])
    term = built([(3, 4, 4)], exponent=1.0, output=False)
    least = torch.distributions.Categorical(logits=teacher).entropy().mean().item()
    first = term(inputs).item() - least
    optimizer = torch.optim.Adam(term.parameters(), 3e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = term(inputs)
        loss.backward()
        optimizer.step()
    assert loss.item() - least < 0.2 * first


def test_wrong_input_is_told():
    student, teacher, labels = tensors()
    with pytest.raises(ValueError, match=r"student logits \(8, 3\), teacher logits \(8, 2\)"):
        ofa_loss(student, teacher[:, :2], labels)
    with pytest.raises(ValueError, match=r"labels are \(7,\)"):
        ofa_loss(student, teacher, labels[:7])
    with pytest.raises(ValueError, match="temperature is 0, it must be positive"):
        ofa_loss(student, teacher, labels, temperature=0)
    with pytest.raises(ValueError, match="exponent is 0, it must be positive"):
        ofa_loss(student, teacher, labels, exponent=0)
    with pytest.raises(ValueError, match="exponent is -1, it must be positive"):
        OneForAll(exponent=-1)
    with pytest.raises(ValueError, match="temperature is -1, it must be positive"):
        OneForAll(temperature=-1)
    with pytest.raises(ValueError, match="ofa wants at least one student tap"):
        OneForAll().build([], [torch.Size([4, 8, 8])], 3)
    with pytest.raises(RuntimeError, match="build must be called"):
        OneForAll()(given([]))
