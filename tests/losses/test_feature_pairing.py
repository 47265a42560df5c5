"""Pairing of taps and directions of vectors."""

import numpy as np
import pytest
import torch

from kdmri_monai.losses.directions import lengths, unit_vectors
from kdmri_monai.losses.pairing import check_map_pairs, check_pairs, mean_over_pairs, smaller_size


def sizes(*shapes):
    return [torch.Size(shape) for shape in shapes]


@pytest.mark.parametrize(
    ("student", "teacher"), [(sizes(), sizes()), (sizes((4,)), sizes()), (sizes((4,)), sizes((4,), (5,)))]
)
def test_taps_that_do_not_pair_are_refused_with_both_lists(student, teacher):
    with pytest.raises(ValueError, match="as many student taps as teacher taps are wanted, at least one") as error:
        check_pairs(student, teacher)
    assert str([tuple(s) for s in teacher]) in str(error.value)


@pytest.mark.parametrize(
    ("student", "teacher"), [((4,), (4,)), ((4, 2, 2), (4,)), ((4, 2, 2), (4, 2, 2, 2)), ((4,), (4, 2, 2))]
)
def test_pairs_must_be_maps_of_as_many_axes(student, teacher):
    with pytest.raises(ValueError, match="maps of as many axes are wanted"):
        check_map_pairs(sizes(student), sizes(teacher))


def test_pairs_of_other_sizes_are_welcome():
    check_map_pairs(sizes((4, 8, 8), (3, 2, 2, 2)), sizes((5, 4, 6), (7, 3, 3, 3)))


def test_the_smaller_size_is_taken_axis_by_axis():
    assert smaller_size(torch.zeros(1, 2, 4, 9), torch.zeros(1, 3, 8, 5)) == (4, 5)


def test_the_mean_over_pairs_does_not_grow_with_their_number():
    one = torch.tensor(3.0)
    assert mean_over_pairs(lambda s, t: s * t, [one], [one]) == mean_over_pairs(
        lambda s, t: s * t, [one] * 3, [one] * 3
    )


def test_unit_vectors_are_vectors_over_their_length():
    vectors = np.random.default_rng(0).normal(size=(3, 4, 5))
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(unit_vectors(torch.from_numpy(vectors), dim=1).numpy(), expected, rtol=1e-12)
    assert lengths(torch.from_numpy(vectors), dim=1).shape == (3, 1, 5)


def test_vectors_of_zeros_stay_zero_without_gradient():
    vectors = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    unit = unit_vectors(vectors)
    (unit.sum() + lengths(vectors).sum()).backward()
    assert unit.tolist() == [[0, 0], [pytest.approx(0.6), pytest.approx(0.8)]]
    assert vectors.grad[0].tolist() == [0, 0]
    assert torch.isfinite(vectors.grad).all()


def test_a_floor_bounds_the_gradient_of_short_vectors():
    vectors = torch.tensor([[1e-8, 0.0]], requires_grad=True)
    unit_vectors(vectors, floor=1e-3).sum().backward()
    assert vectors.grad.abs().max().item() == pytest.approx(1e3)
