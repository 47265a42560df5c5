"""Scores of foreign features against scikit-learn, NumPy and their limits."""

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.neighbors import NearestNeighbors

from kdmri_monai.sharing.trust_distances import (
    energy,
    fit_gaussians,
    fit_virtual_logit,
    mahalanobis,
    neighbour_distance,
    relative_mahalanobis,
    unit_length,
    virtual_logit_score,
)


@pytest.fixture
def known():
    """Features of three classes, correlated, and their labels."""
    random = np.random.default_rng(0)
    label = random.integers(0, 3, 200)
    mixing = random.normal(0, 1, (12, 12))
    return 3 * np.eye(12)[label] + random.normal(0, 1, (200, 12)) @ mixing, label


@pytest.fixture
def asked():
    return np.random.default_rng(1).normal(0, 4, (30, 12))


def reference(features, label, asked):
    """Smallest of scikit-learn's distances to the class means, with its shrunk covariance of what is left."""
    means = np.stack([features[label == k].mean(axis=0) for k in range(3)])
    shrunk = LedoitWolf(assume_centered=True).fit(features - means[label])
    empirical = EmpiricalCovariance(assume_centered=True)
    empirical.location_, empirical.precision_ = np.zeros(12), np.linalg.inv(shrunk.covariance_)
    return np.min([empirical.mahalanobis(asked - mean) for mean in means], axis=0)


def test_the_distance_to_the_nearest_class_is_that_of_scikit_learn(known, asked):
    np.testing.assert_allclose(mahalanobis(asked, fit_gaussians(*known)), reference(*known, asked), rtol=1e-8)


def test_the_relative_distance_takes_that_to_all_classes_off(known, asked):
    features, _ = known
    whole = LedoitWolf().fit(features)
    expected = reference(*known, asked) - whole.mahalanobis(asked)
    one = fit_gaussians(features, np.zeros(len(features), int))
    np.testing.assert_allclose(relative_mahalanobis(asked, fit_gaussians(*known), one), expected, rtol=1e-7)


def test_a_small_basis_keeps_the_directions_of_largest_variance_and_the_mean_of_the_others(known, asked):
    features, label = known
    found = fit_gaussians(features, label, largest=12 * 4)
    means = np.stack([features[label == k].mean(axis=0) for k in range(3)])
    values, vectors = np.linalg.eigh(LedoitWolf(assume_centered=True).fit(features - means[label]).covariance_)
    values[:8] = values[:8].mean()
    inverse = vectors @ np.diag(1 / values) @ vectors.T
    expected = np.min([np.einsum("nc,cd,nd->n", asked - mean, inverse, asked - mean) for mean in means], axis=0)
    assert found.basis.shape == (12, 4)
    np.testing.assert_allclose(mahalanobis(asked, found), expected, rtol=1e-8)


def test_a_class_without_slices_has_no_mean(known):
    features, label = known
    assert len(fit_gaussians(features[label != 1], label[label != 1]).means) == 2


def test_the_same_features_give_the_same_basis_in_any_order(known):
    features, label = known
    order = np.random.default_rng(2).permutation(len(features))
    one, other = fit_gaussians(features, label), fit_gaussians(features[order], label[order])
    np.testing.assert_allclose(one.basis, other.basis, atol=1e-8)


@pytest.mark.parametrize("k", [1, 7, 200])
def test_the_distance_to_a_neighbour_is_that_of_scikit_learn(known, asked, k):
    features, _ = known
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    tree = NearestNeighbors(n_neighbors=k).fit(unit)
    expected = tree.kneighbors(asked / np.linalg.norm(asked, axis=1, keepdims=True))[0][:, -1]
    np.testing.assert_allclose(neighbour_distance(asked, features, k), expected, atol=1e-6)


def test_energy_of_large_logits_is_finite_and_that_of_equal_ones_is_their_number():
    np.testing.assert_allclose(energy(np.array([[1e4, 0, -1e4], [2, 2, 2]])), [-1e4, -2 - np.log(3)])


def test_a_virtual_logit_is_as_large_as_the_logits_of_the_training_slices(known, asked):
    features, _ = known
    logits = np.abs(features[:, :3]) + 1
    fit = fit_virtual_logit(features, logits, 5)
    centred = features - features.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    left = directions[5:]
    length = np.linalg.norm(centred @ left.T, axis=1)
    scale = logits.max(axis=1).mean() / length.mean()
    away = np.linalg.norm((asked - features.mean(axis=0)) @ left.T, axis=1)
    expected = scale * away - np.log(np.exp(asked[:, :3]).sum(axis=1))
    np.testing.assert_allclose(virtual_logit_score(asked, asked[:, :3], fit), expected, rtol=1e-7)


def test_zeros_have_no_direction():
    np.testing.assert_array_equal(unit_length(np.array([[0.0, 0.0], [3.0, 4.0]])), [[0, 0], [0.6, 0.8]])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: fit_gaussians(np.ones((1, 3)), np.zeros(1, int)), "at least 2"),
        (lambda: fit_gaussians(np.ones((5, 3)), np.zeros(5, int)), "do not vary"),
        (lambda: neighbour_distance(np.ones((2, 3)), np.ones((4, 3)), 5), "allowed are 1..4"),
        (lambda: fit_virtual_logit(np.ones((4, 3)), np.ones((4, 3)), 3), "allowed are 1..2"),
    ],
)
def test_what_cannot_be_fitted_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
