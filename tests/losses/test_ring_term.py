"""The ring losses against SciPy's distance transform and scikit-image's block means."""

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from scipy.spatial.distance import cdist, cosine
from skimage.measure import block_reduce

from kdmri_monai.losses.rings import TumourRings, batch_rings, ring_cosine_loss, ring_descriptors, ring_relation_loss
from kdmri_monai.losses.terms import DistillationInputs


def reference_rings(mask):
    """Core, rim, 0 to -d, -d to -2d and the rest, as booleans; d is the tumour's depth."""
    distance = np.where(mask, distance_transform_edt(mask) - 0.5, 0.5 - distance_transform_edt(~mask))
    depth = distance.max()
    cuts = [np.inf, depth / 2, 0, -depth, -2 * depth, -np.inf]
    return np.array([(distance <= high) & (distance > low) for high, low in itertools.pairwise(cuts)])


def reference_descriptors(maps, rings):
    """Weighted means of one sample's maps, shape (R, C), NaN for a ring without pixels."""
    block = (1, *(have // want for have, want in zip(rings.shape[1:], maps.shape[1:], strict=True)))
    weights = block_reduce(rings.astype(float), block, np.mean)
    with np.errstate(invalid="ignore"):
        return np.array([(maps * w).reshape(len(maps), -1).sum(1) / w.sum() for w in weights])


def reference_loss(student, teacher, rings, known, matrix, bias):
    """Mean of 1 - cos over rings, and of squared differences of cosines over pairs of different rings."""
    cosines, relations = [], []
    for s, t, r in zip(student[known], teacher[known], rings[known], strict=True):
        present = r.reshape(len(r), -1).any(1)
        ours, theirs = reference_descriptors(s, r)[present], reference_descriptors(t, r)[present]
        cosines += [cosine(matrix @ a + bias, b) for a, b in zip(ours, theirs, strict=True)]
        square = (cdist(ours, ours, "cosine") - cdist(theirs, theirs, "cosine")) ** 2
        relations += list(square[~np.eye(len(square), dtype=bool)])
    return np.mean(cosines), np.mean(relations)


def ball(size, centre, radius):
    places = np.indices(size)
    return sum((p - c) ** 2 for p, c in zip(places, centre, strict=True)) <= radius**2


def masks(size=(32, 32)):
    """A tumour in the middle, one so large that no rest is left, a single pixel, and none."""
    half = [s // 2 for s in size]
    shapes = [ball(size, half, 4), ball(size, half, min(size) * 0.45), ball(size, half, 0), np.zeros(size, dtype=bool)]
    return np.array(shapes)


def maps(batch, channels, size, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, channels, *size)) + 0.5


def given(student, teacher, batch):
    logits = torch.zeros(len(student[0]), 3)
    labels = torch.zeros(len(logits), dtype=torch.long)
    return DistillationInputs(logits, logits, labels, student, teacher, batch)


def as_batch(mask, has_mask=None):
    batch = {"mask": torch.from_numpy(mask)[:, None].float()}
    return batch if has_mask is None else {**batch, "has_mask": torch.tensor(has_mask)}


def built(student, teacher, **arguments):
    torch.manual_seed(0)
    term = TumourRings(**arguments).double()
    term.build([f.shape[1:] for f in student], [f.shape[1:] for f in teacher], 3)
    return term.double()


def test_rings_are_those_of_scipy_and_say_which_hold_pixels():
    mask = masks()
    rings, present = batch_rings(as_batch(mask))
    expected = np.array([reference_rings(m) for m in mask[:3]])
    np.testing.assert_array_equal(rings[:3].numpy().astype(bool), expected)
    np.testing.assert_array_equal(present[:3].numpy(), expected.any((2, 3)))
    assert not present[3].any()
    assert not present[1].all()
    assert not present[2].all()


@pytest.mark.parametrize("size", [(32, 32), (16, 32), (16, 16, 32)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tumours_of_any_form_at_the_image_border_too_keep_their_rings(size, seed):
    """The distance is measured only as far as the rings reach, which must not be seen."""
    rng = np.random.default_rng(seed)
    mask = ball(size, [rng.integers(s) for s in size], 3) | ball(size, [rng.integers(s) for s in size], 6)
    rings, _ = batch_rings(as_batch(mask[None]))
    np.testing.assert_array_equal(rings[0].numpy().astype(bool), reference_rings(mask))


@pytest.mark.parametrize(("size", "coarse"), [((32, 32), (8, 8)), ((32, 32), (32, 16)), ((16, 16, 16), (4, 8, 4))])
def test_the_term_equals_the_formula(size, coarse):
    mask = masks(size)
    student, teacher = torch.from_numpy(maps(4, 3, coarse)), torch.from_numpy(maps(4, 5, size, seed=1))
    known = [True, True, True, False]
    rings = np.array([reference_rings(m) if m.any() else np.zeros((5, *size), dtype=bool) for m in mask])
    term = built([student], [teacher], cosine_weight=1.0, relation_weight=10.0)
    matrix, bias = (p.detach().numpy() for p in term.parameters())
    cosines, relations = reference_loss(student.numpy(), teacher.numpy(), rings, known, matrix, bias)
    got = term(given([student], [teacher], as_batch(mask))).item()
    np.testing.assert_allclose(got, cosines + 10 * relations, rtol=1e-9)


def test_samples_without_a_mask_are_left_out():
    mask = masks()
    mask[3] = mask[0]
    student, teacher = torch.from_numpy(maps(4, 3, (8, 8))), torch.from_numpy(maps(4, 5, (8, 8), 1))
    term = built([student], [teacher])
    some = term(given([student], [teacher], as_batch(mask, [True, False, True, False])))
    chosen = term(given([student[::2]], [teacher[::2]], as_batch(mask[::2])))
    torch.testing.assert_close(some, chosen)
    assert not torch.isclose(some, term(given([student], [teacher], as_batch(mask))))


@pytest.mark.parametrize("batch", [as_batch(masks(), [False] * 4), as_batch(np.zeros((4, 32, 32), dtype=bool))])
def test_a_batch_without_any_mask_gives_zero_with_a_graph(batch):
    student, teacher = torch.randn(4, 3, 8, 8).double().requires_grad_(), torch.randn(4, 5, 8, 8).double()
    term = built([student], [teacher])
    loss = term(given([student], [teacher], batch))
    loss.backward()
    assert loss.item() == 0
    assert (student.grad == 0).all()
    assert all((p.grad == 0).all() for p in term.parameters())


def test_equal_descriptors_cost_nothing_and_relations_need_no_projector():
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    teacher = torch.randn(2, 5, 4, dtype=torch.float64)
    everywhere = torch.ones(2, 5, dtype=torch.bool)
    assert abs(ring_cosine_loss(3 * teacher, teacher, everywhere).item()) < 1e-12
    assert ring_cosine_loss(-teacher, teacher, everywhere).item() == pytest.approx(2.0)
    assert ring_relation_loss(3 * teacher @ rotation, teacher, everywhere).item() < 1e-24


def test_gradients_are_right_and_none_reach_the_teacher():
    rings, present = batch_rings(as_batch(masks((8, 8)), [True, True, True, True]))
    student, teacher = (torch.from_numpy(maps(4, 3, (4, 4), seed)).requires_grad_() for seed in (0, 1))

    def losses(s, t):
        ours, theirs = ring_descriptors(s, rings), ring_descriptors(t, rings)
        return ring_cosine_loss(ours, theirs, present) + ring_relation_loss(ours, theirs, present)

    assert torch.autograd.gradcheck(lambda s: losses(s, teacher.detach()), (student,))
    losses(student, teacher).backward()
    assert teacher.grad is None


def test_the_term_learns_on_the_student_side_only_and_averages_its_scales():
    student = [torch.randn(4, c, s, s).double().requires_grad_() for c, s in ((3, 16), (4, 8), (5, 1))]
    teacher = [torch.randn(4, c, s, s).double().requires_grad_() for c, s in ((6, 32), (7, 8), (8, 2))]
    term = built(student, teacher)
    value = term(given(student, teacher, as_batch(masks())))
    value.backward()
    assert all(f.grad is not None for f in student)
    assert all(f.grad is None for f in teacher)
    assert all(p.grad is not None for p in term.parameters())
    each = []
    for place in range(3):
        alone = built([student[place]], [teacher[place]])
        alone.projectors[0].load_state_dict(term.projectors[place].state_dict())
        each.append(alone(given([student[place]], [teacher[place]], as_batch(masks()))))
    torch.testing.assert_close(value, torch.stack(each).mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("level", [0.0, 1e4])
def test_large_and_empty_maps_stay_finite(dtype, level):
    student = (torch.randn(4, 3, 8, 8) * level).to(dtype).requires_grad_()
    teacher = (torch.randn(4, 5, 8, 8) * level).to(dtype)
    term = built([student], [teacher]).float()
    loss = term(given([student], [teacher], as_batch(masks())))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_order_of_the_batch_does_not_matter():
    student, teacher = torch.from_numpy(maps(4, 3, (8, 8))), torch.from_numpy(maps(4, 5, (8, 8), 1))
    term, order, known = built([student], [teacher]), [2, 0, 3, 1], [True, True, False, True]
    expected = term(given([student], [teacher], as_batch(masks(), known)))
    shuffled = as_batch(masks()[order], [known[i] for i in order])
    torch.testing.assert_close(term(given([student[order]], [teacher[order]], shuffled)), expected)


def test_wrong_input_is_told():
    features = [torch.zeros(2, 4, 8, 8)]
    term = TumourRings()
    with pytest.raises(ValueError, match="the batch has no key 'mask'"):
        term(given(features, features, {"image": torch.zeros(2, 1, 8, 8)}))
    with pytest.raises(RuntimeError, match=r"TumourRings.build must be called"):
        term(given(features, features, {"mask": torch.zeros(2, 1, 8, 8)}))
    with pytest.raises(
        ValueError, match=r"maps \(2, 4, 8, 8\) and rings \(3, 5, 8, 8\) must have the same batch and axes"
    ):
        ring_descriptors(torch.zeros(2, 4, 8, 8), torch.zeros(3, 5, 8, 8))
    with pytest.raises(ValueError, match="the same batch and axes"):
        ring_descriptors(torch.zeros(2, 4, 8, 8), torch.zeros(2, 5, 8, 8, 8))
    with pytest.raises(ValueError, match="student features"):
        ring_cosine_loss(torch.zeros(2, 5, 3), torch.zeros(2, 5, 4), torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"weights of cosine -1 and relation 1\.0 must not be negative"):
        TumourRings(cosine_weight=-1)
    with pytest.raises(ValueError, match="maps of as many axes"):
        term.build([torch.Size([4])], [torch.Size([4])], 3)
