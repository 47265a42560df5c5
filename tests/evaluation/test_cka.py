"""CKA against the formulas of the papers, its invariances, and pairings against all there are."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group
from skimage.measure import block_reduce

from kdmri_monai.evaluation.cka import CKAMatrix, linear_cka, propose_pairing


def kornblith(x, y):
    """Kornblith 2019, section 3: linear CKA with centred columns."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    cross = np.linalg.norm(y.T @ x, "fro") ** 2
    return cross / (np.linalg.norm(x.T @ x, "fro") * np.linalg.norm(y.T @ y, "fro"))


def hsic_1(student, teacher):
    """Nguyen 2021, section 2 (after Song 2012): unbiased HSIC of two Gram matrices."""
    n, ones = len(student), np.ones(len(student))
    k, m = (gram - np.diag(np.diag(gram)) for gram in (student, teacher))
    means = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    mixed = 2 / (n - 2) * (ones @ k @ m @ ones)
    return (np.trace(k @ m) + means - mixed) / (n * (n - 3))


def minibatch_cka(x_batches, y_batches):
    """Nguyen 2021, section 2, each batch weighted by its samples."""
    sums = np.zeros(3)
    for x, y in zip(x_batches, y_batches, strict=True):
        k, m = x @ x.T, y @ y.T
        sums += len(x) * np.array([hsic_1(k, m), hsic_1(k, k), hsic_1(m, m)])
    return sums[0] / np.sqrt(sums[1] * sums[2])


def features(samples, channels, seed=0, shift=0.0):
    """Features with a common part, so that CKA is neither 0 nor 1."""
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(99).normal(size=(samples, 3))
    return common @ rng.normal(size=(3, channels)) + rng.normal(size=(samples, channels)) + shift


def matrix_of(student, teacher, sizes, **options):
    cka = CKAMatrix(**options)
    edges = np.cumsum([0, *sizes])
    for low, high in pairwise(edges):
        cka.update(*([torch.from_numpy(f[low:high]) for f in side] for side in (student, teacher)))
    assert cka.samples == sum(sizes)
    return cka.compute()


@pytest.mark.parametrize("samples", [3, 20, 200])
@pytest.mark.parametrize("channels", [2, 40])
def test_linear_cka_is_the_formula(samples, channels):
    x, y = features(samples, channels), features(samples, 7, seed=1, shift=5.0)
    np.testing.assert_allclose(linear_cka(torch.from_numpy(x), torch.from_numpy(y)), kornblith(x, y), rtol=1e-10)


@pytest.mark.parametrize("sizes", [(4,), (16,), (8, 8, 8), (16, 16, 5)])
def test_the_matrix_is_the_formula_for_every_pair(sizes):
    total = sum(sizes)
    student = [features(total, c, seed=c, shift=3.0) for c in (2, 30)]
    teacher = [features(total, c, seed=c) for c in (5, 11, 17)]
    cuts = np.cumsum(sizes)[:-1]
    expected = [[minibatch_cka(np.split(s, cuts), np.split(t, cuts)) for t in teacher] for s in student]
    got = matrix_of(student, teacher, sizes)
    assert got.shape == (2, 3)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_a_representation_is_like_itself():
    x = features(24, 6)
    np.testing.assert_allclose(np.diag(matrix_of([x, 3 * x], [x, 3 * x], (12, 12))), 1, rtol=1e-12)
    assert linear_cka(torch.from_numpy(x), torch.from_numpy(x)) == pytest.approx(1, abs=1e-12)


def test_rotation_scale_and_shift_do_not_matter_but_other_maps_do():
    x, y = features(24, 6), features(24, 8, seed=1)
    rotation = ortho_group.rvs(6, random_state=0)
    stretched = x * np.geomspace(1e-2, 1e2, 6)
    plain, turned, other = matrix_of([x, 0.01 * x @ rotation + 7, stretched], [y], (12, 12))[:, 0]
    np.testing.assert_allclose(turned, plain, rtol=1e-9)
    assert abs(other - plain) > 0.05
    np.testing.assert_allclose(
        linear_cka(torch.from_numpy(x @ rotation), torch.from_numpy(y)), kornblith(x, y), rtol=1e-10
    )


def test_order_of_the_samples_does_not_matter():
    x, y = features(24, 6), features(24, 8, seed=1)
    order = np.random.default_rng(0).permutation(24)
    np.testing.assert_allclose(matrix_of([x[order]], [y[order]], (24,)), matrix_of([x], [y], (24,)), rtol=1e-10)


def test_unrelated_features_have_a_cka_of_nothing_in_small_batches():
    """The biased estimate does not: with more channels than samples it is near 1."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(800, 64)), rng.normal(size=(800, 64))
    assert abs(matrix_of([x], [y], [8] * 100)[0, 0]) < 0.05
    assert kornblith(x[:8], y[:8]) > 0.7


def test_many_batches_tend_to_the_value_over_all_samples():
    x, y = features(1200, 6), features(1200, 8, seed=1)
    assert matrix_of([x], [y], [60] * 20)[0, 0] == pytest.approx(kornblith(x, y), abs=0.02)


@pytest.mark.parametrize("grid", [1, 2, 4])
@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 8, 8, 8)])
def test_maps_are_area_pooled_and_flattened(grid, shape):
    rng = np.random.default_rng(0)
    maps, vectors = rng.normal(size=(10, *shape)), rng.normal(size=(10, 5))
    blocks = block_reduce(maps, (1, 1, *[8 // grid] * (len(shape) - 1)), np.mean).reshape(10, -1)
    got = matrix_of([maps], [vectors], (10,), grid=grid)
    np.testing.assert_allclose(got[0, 0], minibatch_cka([blocks], [vectors]), rtol=1e-9)


def test_maps_below_the_grid_are_taken_as_they_are():
    maps = np.random.default_rng(0).normal(size=(10, 3, 2, 9))
    strips = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(maps), (2, 4)).numpy().reshape(10, -1)
    got = matrix_of([maps], [strips], (10,))
    np.testing.assert_allclose(got, 1, rtol=1e-6)


def test_large_offsets_and_half_precision_are_borne():
    x, y = features(16, 6), features(16, 8, seed=1)
    np.testing.assert_allclose(matrix_of([x + 1e6], [y], (16,)), matrix_of([x], [y], (16,)), rtol=1e-5)
    cka = CKAMatrix()
    cka.update([torch.rand(8, 3, 6, 6, dtype=torch.bfloat16)], [1e4 * torch.rand(8, 3, dtype=torch.float16)])
    assert np.isfinite(cka.compute()).all()


def test_a_tap_that_never_changes_gives_no_number():
    matrix = matrix_of([np.ones((8, 3)), features(8, 3)], [features(8, 4)], (8,))
    assert np.isnan(matrix[0, 0])
    assert np.isfinite(matrix[1, 0])
    assert np.isnan(linear_cka(torch.ones(5, 2), torch.rand(5, 2)))


def best_of_all(matrix, count):
    """Every order-preserving pairing of so many pairs, tried."""
    students, teachers = matrix.shape
    sums = {
        tuple(zip(rows, columns, strict=True)): matrix[list(rows), list(columns)].sum()
        for rows in combinations(range(students), count)
        for columns in combinations(range(teachers), count)
    }
    return max(sums, key=sums.get)


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 7), (7, 3), (5, 6)])
@pytest.mark.parametrize("seed", range(5))
def test_the_pairing_is_the_best_that_keeps_the_order(shape, seed):
    matrix = np.random.default_rng(seed).uniform(-0.3, 1, size=shape)
    for count in range(1, min(shape) + 1):
        assert propose_pairing(matrix, count) == list(best_of_all(matrix, count))
    assert propose_pairing(matrix) == list(best_of_all(matrix, min(shape)))


def test_order_of_depth_goes_before_likeness():
    assert propose_pairing(np.array([[0.1, 0.9], [0.9, 0.2]])) == [(0, 0), (1, 1)]


def test_ties_are_paired_too():
    pairs = propose_pairing(np.zeros((3, 5)))
    assert len(pairs) == 3
    assert pairs == sorted(pairs)
    assert all(len(set(side)) == 3 for side in zip(*pairs, strict=True))


def test_wrong_input_is_told():
    x = torch.rand(8, 3)
    with pytest.raises(ValueError, match="8 samples of the student and 7 of the teacher"):
        linear_cka(x, x[:7])
    with pytest.raises(ValueError, match="grid is 0"):
        CKAMatrix(grid=0)
    with pytest.raises(RuntimeError, match="no batch was given"):
        CKAMatrix().compute()
    with pytest.raises(ValueError, match=r"4 samples or more, as many of every tap; got \[3\]"):
        CKAMatrix().update([x[:3]], [x[:3]])
    with pytest.raises(ValueError, match=r"got \[7, 8\]"):
        CKAMatrix().update([x], [x[:7]])
    with pytest.raises(ValueError, match="0 student and 1 teacher taps"):
        CKAMatrix().update([], [x])
    cka = CKAMatrix()
    cka.update([x], [x, x])
    with pytest.raises(ValueError, match=r"1 student and 1 teacher taps, before \(1, 2\)"):
        cka.update([x], [x])


def test_pairings_that_cannot_be_are_told():
    with pytest.raises(ValueError, match="not finite"):
        propose_pairing(np.array([[np.nan, 1.0]]))
    for pairs in (0, 3):
        with pytest.raises(ValueError, match=f"{pairs} pairs are not to be had of 2 student and 4 teacher taps"):
            propose_pairing(np.ones((2, 4)), pairs)
