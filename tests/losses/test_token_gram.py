"""token_gram_loss against scikit-image's block means and SciPy's cosines."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from skimage.measure import block_reduce

from kdmri_monai.losses.terms import DistillationInputs
from kdmri_monai.losses.token_gram import TokenGram, token_gram_loss


def reference(student, teacher, grids):
    """Mean over grids, images and token pairs of the squared difference of cosines; sides are multiples of a grid."""
    values = []
    for grid in grids:
        grams = []
        for maps in (student, teacher):
            block = (1, 1, *(side // grid for side in maps.shape[2:]))
            tokens = block_reduce(maps, block, np.mean).reshape(*maps.shape[:2], -1)
            grams.append([1 - cdist(image.T, image.T, "cosine") for image in tokens])
        values.append(np.mean((np.array(grams[0]) - np.array(grams[1])) ** 2))
    return np.mean(values)


def maps(student=(4, 8, 8), teacher=(6, 16, 16), batch=3, seed=0):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.normal(size=(batch, *shape)) + 0.3) for shape in (student, teacher)]


def given(student, teacher):
    logits = torch.zeros(len(student[0]), 3)
    return DistillationInputs(logits, logits, torch.zeros(len(logits), dtype=torch.long), student, teacher)


@pytest.mark.parametrize("grids", [(8,), (4,), (8, 4, 2), (1,)])
@pytest.mark.parametrize("shapes", [((4, 8, 8), (6, 16, 16)), ((3, 16, 8), (3, 8, 24)), ((2, 8, 8, 8), (5, 8, 16, 8))])
def test_equals_the_formula(grids, shapes):
    student, teacher = maps(*shapes)
    expected = reference(student.numpy(), teacher.numpy(), grids)
    np.testing.assert_allclose(token_gram_loss(student, teacher, grids).item(), expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(("student", "teacher"), [((4, 4, 4), (6, 16, 16)), ((4, 4, 16), (6, 16, 16))])
def test_grids_above_any_axis_of_the_smaller_map_are_left_out(student, teacher):
    student, teacher = maps(student, teacher)
    torch.testing.assert_close(token_gram_loss(student, teacher, (7, 4)), token_gram_loss(student, teacher, (4,)))


def test_the_smaller_map_is_the_grid_where_none_is_left():
    student, teacher = maps((4, 2, 6), (6, 4, 12))
    small = teacher.unflatten(2, (2, 2)).unflatten(4, (6, 2)).mean((3, 5))
    expected = np.mean(
        [
            ((cdist(t.T, t.T, "cosine") - cdist(s.T, s.T, "cosine")) ** 2).mean()
            for s, t in zip(student.flatten(2).numpy(), small.flatten(2).numpy(), strict=True)
        ]
    )
    np.testing.assert_allclose(token_gram_loss(student, teacher, (7,)).item(), expected, rtol=1e-9)


def test_rotating_and_scaling_the_channels_changes_nothing():
    student, teacher = maps((6, 8, 8), (6, 8, 8))
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    turned = 40 * torch.einsum("cd,bdhw->bchw", rotation, teacher)
    assert token_gram_loss(turned, teacher).item() < 1e-24
    torch.testing.assert_close(token_gram_loss(student, turned), token_gram_loss(student, teacher))


def test_gradients_are_right_and_none_reach_the_teacher():
    student, teacher = (m.requires_grad_() for m in maps((2, 4, 4), (3, 8, 8), batch=2))
    assert torch.autograd.gradcheck(lambda s: token_gram_loss(s, teacher.detach(), (4, 2)), (student,))
    token_gram_loss(student, teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dust", [0.0, 1e-9])
def test_large_features_and_dead_background_tokens_stay_finite(dtype, dust):
    student = torch.full((2, 3, 8, 8), dust, dtype=dtype)
    student[:, :, 2:5, 2:5] = torch.randn(2, 3, 3, 3).to(dtype) * 1e4
    student.requires_grad_()
    loss = token_gram_loss(student, torch.randn(2, 5, 8, 8).to(dtype))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert student.grad.abs().max() < 1.0


def test_half_precision_is_left_before_the_arithmetic():
    student, teacher = (m.bfloat16() for m in maps())
    torch.testing.assert_close(token_gram_loss(student, teacher), token_gram_loss(student.float(), teacher.float()))


def test_maps_of_zeros_give_no_gradient():
    student = torch.zeros(1, 2, 4, 4, requires_grad=True)
    token_gram_loss(student, torch.ones(1, 2, 4, 4)).backward()
    assert (student.grad == 0).all()


def test_order_of_the_batch_does_not_matter():
    student, teacher = maps(batch=5)
    order = torch.randperm(5)
    torch.testing.assert_close(token_gram_loss(student[order], teacher[order]), token_gram_loss(student, teacher))


def test_the_term_is_the_mean_over_its_pairs():
    first, second = maps(), maps((2, 4, 4), (3, 4, 4), seed=1)
    term = TokenGram(grids=(4,))
    term.build([first[0].shape[1:], second[0].shape[1:]], [first[1].shape[1:], second[1].shape[1:]], 3)
    expected = (token_gram_loss(*first, (4,)) + token_gram_loss(*second, (4,))) / 2
    torch.testing.assert_close(term(given([first[0], second[0]], [first[1], second[1]])), expected)
    assert not list(term.parameters())


def test_wrong_input_is_told():
    with pytest.raises(ValueError, match=r"maps of as many axes are wanted; got \(1, 2, 4, 4\) and \(1, 2, 4, 4, 4\)"):
        token_gram_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4, 4))
    with pytest.raises(ValueError, match="2 samples of the student and 3 of the teacher"):
        token_gram_loss(torch.zeros(2, 2, 4, 4), torch.zeros(3, 2, 4, 4))
    with pytest.raises(ValueError, match=r"grids are \(7, 0\)"):
        TokenGram((7, 0))
    with pytest.raises(ValueError, match=r"grids are \(\)"):
        TokenGram(())
    with pytest.raises(ValueError, match=r"maps of as many axes are wanted; got \(4, 8, 8\) and \(4,\)"):
        TokenGram().build([torch.Size([4, 8, 8])], [torch.Size([4])], 3)
