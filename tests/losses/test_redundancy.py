"""rsd_loss against SciPy's z-scores, its limits, and the term behind its MLP."""

import numpy as np
import pytest
import torch
from scipy.stats import zscore

from kdmri_monai.losses.redundancy import FixedMixing, RedundancySuppression, rsd_loss
from kdmri_monai.losses.terms import DistillationInputs


def reference(student, teacher, kappa):
    """Section 3 of RSD, one entry of the correlation matrix after the other, over D; variances are raised by 1e-6."""
    s, t = (zscore(f, axis=0) / np.sqrt(1 + 1e-6 / f.var(0)) for f in (student, teacher))
    total = 0.0
    for i in range(t.shape[1]):
        for j in range(s.shape[1]):
            correlation = np.mean(t[:, i] * s[:, j])
            total += (correlation - 1) ** 2 if i == j else kappa * correlation**2
    return total / t.shape[1]


def features(batch, channels, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, batch, channels)) * scale + 3.0


def given(student, teacher):
    logits = torch.zeros(len(student[0]), 3)
    return DistillationInputs(logits, logits, torch.zeros(len(logits), dtype=torch.long), student, teacher)


@pytest.mark.parametrize("kappa", [0.0, 0.01, 1.0])
@pytest.mark.parametrize(("batch", "channels", "scale"), [(2, 3, 1.0), (16, 5, 10.0), (8, 20, 100.0), (32, 1, 1.0)])
def test_equals_the_formula(batch, channels, scale, kappa):
    student, teacher = features(batch, channels, scale)
    got = rsd_loss(torch.from_numpy(student), torch.from_numpy(teacher), kappa).item()
    np.testing.assert_allclose(got, reference(student, teacher, kappa), rtol=1e-9)


def test_channels_that_follow_the_teacher_and_differ_from_each_other_cost_nothing():
    """Columns of a Hadamard matrix are uncorrelated; shift and scale of a channel do not matter."""
    teacher = torch.tensor([[1.0, 1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1]], dtype=torch.float64)
    assert rsd_loss(teacher * 50 + 7, teacher * 50).item() < 1e-12
    assert rsd_loss(-teacher * 50, teacher * 50).item() == pytest.approx(4.0, rel=1e-6)


def test_redundant_channels_cost_kappa_for_every_pair():
    channel = torch.tensor([1.0, -1, 1, -1], dtype=torch.float64)[:, None] * 100
    same = channel.expand(4, 5)
    assert rsd_loss(same, same, kappa=0.25).item() == pytest.approx(0.25 * 20 / 5, rel=1e-6)


def test_gradients_are_right_and_none_reach_the_teacher():
    student, teacher = (torch.from_numpy(f).requires_grad_() for f in features(5, 4))
    assert torch.autograd.gradcheck(lambda s: rsd_loss(s, teacher.detach(), 0.3), (student,))
    rsd_loss(student, teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("level", [0.0, 1e4])
def test_large_and_constant_features_stay_finite(dtype, level):
    student = torch.full((4, 3), level, dtype=dtype)
    student[0] *= -1
    student.requires_grad_()
    loss = rsd_loss(student, torch.full((4, 3), level, dtype=dtype))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(1.0)
    assert torch.isfinite(student.grad).all()


def test_order_of_the_batch_does_not_matter():
    student, teacher = (torch.from_numpy(f) for f in features(8, 4))
    order = torch.randperm(8)
    torch.testing.assert_close(rsd_loss(student[order], teacher[order]), rsd_loss(student, teacher))


def test_wrong_input_is_told():
    with pytest.raises(ValueError, match="a batch of 1 is too small, this term compares 2 samples or more"):
        rsd_loss(torch.zeros(1, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"student features \(4, 3\), teacher features \(4, 5\)"):
        rsd_loss(torch.zeros(4, 3), torch.zeros(4, 5))
    with pytest.raises(ValueError, match="kappa is -1"):
        RedundancySuppression(kappa=-1)
    with pytest.raises(ValueError, match="max_channels is 1"):
        RedundancySuppression(max_channels=1)


def test_wide_teachers_are_mixed_by_the_same_orthonormal_columns_every_time():
    mixing, again = FixedMixing(300, 20), FixedMixing(300, 20)
    assert torch.equal(mixing.matrix, again.matrix)
    torch.testing.assert_close(mixing.matrix.T @ mixing.matrix, torch.eye(20), atol=1e-5, rtol=0)
    vectors = torch.randn(4, 20)
    assert torch.equal(FixedMixing(20, 20)(vectors), vectors)


def test_the_term_learns_on_the_student_side_only_and_averages_maps_and_pairs():
    torch.manual_seed(0)
    term = RedundancySuppression(max_channels=16)
    student = [torch.randn(6, 4, 5, 7, requires_grad=True), torch.randn(6, 3, requires_grad=True)]
    teacher = [torch.randn(6, 40, 3, 3, requires_grad=True), torch.randn(6, 8, requires_grad=True)]
    term.build([f.shape[1:] for f in student], [f.shape[1:] for f in teacher], 3)
    value = term(given(student, teacher))
    value.backward()
    assert [p[-1].out_features for p in term.projectors] == [16, 8]
    assert all(f.grad is not None for f in student)
    assert all(f.grad is None for f in teacher)
    assert all(p.grad is not None for p in term.parameters())
    targets = [teacher[0].mean((2, 3)) @ term.mixing[0].matrix, teacher[1]]
    vectors = [student[0].mean((2, 3)), student[1]]
    each = [rsd_loss(p(v), t) for p, v, t in zip(term.projectors, vectors, targets, strict=True)]
    torch.testing.assert_close(value, (each[0] + each[1]) / 2)


def test_training_the_term_finds_the_teacher_in_the_student():
    torch.manual_seed(0)
    teacher = torch.randn(64, 6)
    student = teacher @ torch.randn(6, 10)
    term = RedundancySuppression()
    term.build([student.shape[1:]], [teacher.shape[1:]], 3)
    optimizer = torch.optim.Adam(term.parameters(), 1e-2)
    first = term(given([student], [teacher])).item()
    for _ in range(100):
        optimizer.zero_grad()
        loss = term(given([student], [teacher]))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05 * first


def test_the_term_wants_taps_a_batch_and_to_be_built():
    with pytest.raises(ValueError, match=r"at least one; got \[\(4, 8, 8\)\] and \[\]"):
        RedundancySuppression().build([torch.Size([4, 8, 8])], [], 3)
    with pytest.raises(RuntimeError, match=r"RedundancySuppression.build must be called"):
        RedundancySuppression()(given([torch.zeros(2, 4)], [torch.zeros(2, 4)]))
    term = RedundancySuppression()
    term.build([torch.Size([4])], [torch.Size([4])], 3)
    with pytest.raises(ValueError, match="a batch of 1 is too small"):
        term(given([torch.zeros(1, 4)], [torch.zeros(1, 4)]))
