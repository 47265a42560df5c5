"""vkd_loss against NumPy, and the projection that stays orthogonal while it learns."""

import numpy as np
import pytest
import torch

from kdmri_monai.losses.orthogonal import OrthogonalProjection, vkd_loss
from kdmri_monai.losses.terms import DistillationInputs


def reference(student, teacher):
    """Smooth L1 of equation 8 of Girshick 2015 to the teacher after LayerNorm, eps 1e-5."""
    target = (teacher - teacher.mean(1, keepdims=True)) / np.sqrt(teacher.var(1, keepdims=True) + 1e-5)
    difference = np.abs(student - target)
    return np.mean(np.where(difference < 1, 0.5 * difference**2, difference - 0.5))


def features(batch=5, channels=6, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, batch, channels)) * scale


def given(student, teacher):
    logits = torch.zeros(len(student[0]), 3)
    return DistillationInputs(logits, logits, torch.zeros(len(logits), dtype=torch.long), student, teacher)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize(("batch", "channels"), [(1, 2), (5, 6), (3, 40)])
def test_equals_the_formula(batch, channels, scale):
    student, teacher = features(batch, channels, scale)
    got = vkd_loss(torch.from_numpy(student), torch.from_numpy(teacher)).item()
    np.testing.assert_allclose(got, reference(student, teacher), rtol=1e-9)


def test_normalised_features_cost_nothing():
    teacher = torch.from_numpy(features()[1])
    assert vkd_loss(torch.nn.functional.layer_norm(teacher, (6,)), 100 * teacher + 5).item() < 1e-9


def test_gradients_are_right_and_none_reach_the_teacher():
    student, teacher = (torch.from_numpy(f).requires_grad_() for f in features())
    assert torch.autograd.gradcheck(lambda s: vkd_loss(s, teacher.detach()), (student,))
    vkd_loss(student, teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("level", [0.0, 1e4])
def test_large_and_constant_features_stay_finite(dtype, level):
    student = torch.full((2, 4), level, dtype=dtype, requires_grad=True)
    loss = vkd_loss(student, torch.full((2, 4), -level, dtype=dtype))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_order_of_the_batch_does_not_matter():
    student, teacher = (torch.from_numpy(f) for f in features(8))
    order = torch.randperm(8)
    torch.testing.assert_close(vkd_loss(student[order], teacher[order]), vkd_loss(student, teacher))


@pytest.mark.parametrize(("narrow", "wide"), [(4, 9), (9, 4), (6, 6)])
def test_the_term_learns_and_its_projection_stays_orthogonal(narrow, wide):
    torch.manual_seed(0)
    student, teacher = torch.randn(16, narrow, 3, 3, requires_grad=True), torch.randn(16, wide, requires_grad=True)
    term = OrthogonalProjection()
    term.build([student.shape[1:]], [teacher.shape[1:]], 3)
    optimizer = torch.optim.Adam(term.parameters(), 0.05)
    before = term.projectors[0].weight.detach().clone()
    first = term(given([student], [teacher])).item()
    for _ in range(30):
        optimizer.zero_grad()
        loss = term(given([student], [teacher]))
        loss.backward()
        optimizer.step()
    weight = term.projectors[0].weight.detach()
    gram = weight.T @ weight if wide >= narrow else weight @ weight.T
    torch.testing.assert_close(gram, torch.eye(min(narrow, wide)), atol=1e-5, rtol=0)
    assert (weight - before).abs().max() > 0.1
    assert loss.item() < first
    assert student.grad is not None
    assert teacher.grad is None


def test_the_term_is_the_mean_over_its_pairs():
    student, teacher = [torch.randn(3, 4, 2, 2), torch.randn(3, 5)], [torch.randn(3, 6), torch.randn(3, 7, 4, 4)]
    term = OrthogonalProjection()
    term.build([f.shape[1:] for f in student], [f.shape[1:] for f in teacher], 3)
    first = vkd_loss(student[0].mean((2, 3)) @ term.projectors[0].weight.T, teacher[0])
    second = vkd_loss(student[1] @ term.projectors[1].weight.T, teacher[1].mean((2, 3)))
    torch.testing.assert_close(term(given(student, teacher)), (first + second) / 2)


def test_a_loaded_checkpoint_projects_as_before():
    term, loaded = OrthogonalProjection(), OrthogonalProjection()
    for made in (term, loaded):
        made.build([torch.Size([4])], [torch.Size([6])], 3)
    loaded.load_state_dict(term.state_dict())
    torch.testing.assert_close(loaded.projectors[0].weight, term.projectors[0].weight)


def test_wrong_input_is_told():
    with pytest.raises(ValueError, match=r"student features \(2, 3\), teacher features \(2, 4\)"):
        vkd_loss(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="as many student taps as teacher taps are wanted"):
        OrthogonalProjection().build([], [], 3)
    with pytest.raises(RuntimeError, match=r"OrthogonalProjection.build must be called"):
        OrthogonalProjection()(given([torch.zeros(2, 4)], [torch.zeros(2, 4)]))
