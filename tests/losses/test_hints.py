"""fitnet_loss against scikit-learn and scikit-image, and the term on maps, vectors and both."""

import numpy as np
import pytest
import torch
from skimage.measure import block_reduce
from sklearn.metrics import mean_squared_error

from kdmri_monai.losses.hints import Hints, fitnet_loss
from kdmri_monai.losses.terms import DistillationInputs


def features(student, teacher, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=student) * scale, rng.normal(size=teacher) * scale


def given(student, teacher):
    logits = torch.zeros(len(student[0]), 3)
    return DistillationInputs(logits, logits, torch.zeros(len(logits), dtype=torch.long), student, teacher)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize(
    ("student", "teacher", "size"),
    [
        ((3, 5), (3, 5), ()),
        ((3, 4, 8, 8), (3, 4, 4, 8), (4, 8)),
        ((2, 4, 4, 12), (2, 4, 8, 6), (4, 6)),
        ((2, 3, 4, 4, 4), (2, 3, 8, 4, 2), (4, 4, 2)),
    ],
)
def test_equals_the_mean_squared_error_of_pooled_features(student, teacher, size, scale):
    s, t = features(student, teacher, scale)
    got = fitnet_loss(torch.from_numpy(s), torch.from_numpy(t)).item()
    blocks = [(1, 1, *(have // want for have, want in zip(x.shape[2:], size, strict=True))) for x in (s, t)]
    flat = [block_reduce(x, block, np.mean).ravel() for x, block in zip((s, t), blocks, strict=True)]
    np.testing.assert_allclose(got, mean_squared_error(*flat), rtol=1e-9)


def test_gradients_are_right_and_none_reach_the_teacher():
    student, teacher = (torch.from_numpy(f).requires_grad_() for f in features((2, 3, 4, 4), (2, 3, 8, 2)))
    assert torch.autograd.gradcheck(lambda s: fitnet_loss(s, teacher.detach()), (student,))
    fitnet_loss(student, teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_large_features_stay_finite(dtype):
    student = torch.full((2, 3), 1e4, dtype=dtype, requires_grad=True)
    loss = fitnet_loss(student, -student.detach())
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(4e8, rel=1e-2)
    assert torch.isfinite(student.grad).all()


def test_order_of_the_batch_does_not_matter():
    student, teacher = (torch.from_numpy(f) for f in features((5, 3, 4, 4), (5, 3, 8, 8)))
    order = torch.randperm(5)
    torch.testing.assert_close(fitnet_loss(student[order], teacher[order]), fitnet_loss(student, teacher))


def test_projecting_before_or_after_pooling_is_the_same():
    student, teacher = torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4)
    term = Hints()
    term.build([student.shape[1:]], [teacher.shape[1:]], 3)
    expected = fitnet_loss(term.projectors[0](student), teacher)
    torch.testing.assert_close(term(given([student], [teacher])), expected)


def test_maps_and_vectors_mix_and_the_term_is_the_mean_over_its_pairs():
    student = [torch.randn(2, 3, 8, 8), torch.randn(2, 4), torch.randn(2, 4, 3, 3), torch.randn(2, 2, 4, 4, 4)]
    teacher = [torch.randn(2, 5, 4, 4), torch.randn(2, 6), torch.randn(2, 6), torch.randn(2, 3, 2, 4, 8)]
    for feature in (*student, *teacher):
        feature.requires_grad_()
    term = Hints()
    term.build([f.shape[1:] for f in student], [f.shape[1:] for f in teacher], 3)
    assert [type(p).__name__ for p in term.projectors] == ["Conv2d", "Linear", "Linear", "Conv3d"]
    inputs = [student[0], student[1], student[2].mean((2, 3)), student[3]]
    each = [fitnet_loss(p(s), t) for p, s, t in zip(term.projectors, inputs, teacher, strict=True)]
    value = term(given(student, teacher))
    torch.testing.assert_close(value, torch.stack(each).mean())
    value.backward()
    assert all(f.grad is not None for f in student)
    assert all(f.grad is None for f in teacher)
    assert all(p.grad is not None for p in term.parameters())


def test_wrong_input_is_told():
    with pytest.raises(
        ValueError, match=r"as many channels and axes are wanted; got \(2, 3, 4, 4\) and \(2, 5, 4, 4\)"
    ):
        fitnet_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
    with pytest.raises(ValueError, match="as many channels and axes"):
        fitnet_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="2 samples of the student and 1 of the teacher"):
        fitnet_loss(torch.zeros(2, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"maps of as many axes are wanted; got \(3, 4, 4\) and \(3, 4, 4, 4\)"):
        Hints().build([torch.Size([3, 4, 4])], [torch.Size([3, 4, 4, 4])], 3)
    with pytest.raises(RuntimeError, match=r"Hints.build must be called"):
        Hints()(given([torch.zeros(2, 4)], [torch.zeros(2, 4)]))
