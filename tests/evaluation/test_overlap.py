"""Overlap of hot regions. References: scikit-learn's Jaccard score; for chance every shift of the region in turn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from kdmri_monai.evaluation.overlap import best_threshold, overlap_chance, overlaps


def reference_chance(region, mask):
    """Mean overlap over all places to which the region can be moved, wrapping round."""
    rows, columns = region.shape
    found = []
    for down in range(rows):
        for right in range(columns):
            moved = np.roll(region, (down, right), axis=(0, 1))
            found.append((moved & mask).sum() / (moved | mask).sum())
    return np.mean(found)


@pytest.fixture
def blobs():
    mask = torch.zeros(3, 1, 12, 17)
    mask[0, 0, 1:4, 9:15] = mask[0, 0, 4:6, 9:11] = 1  # no symmetry
    mask[1, 0, 8:11, 0:5] = 1
    mask[2, 0, 0, 0] = 1
    return mask


@pytest.fixture
def heat():
    return torch.rand(3, 1, 12, 17, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.93, 1.0])
def test_it_is_the_jaccard_score_of_the_hot_region(heat, blobs, threshold):
    found = overlaps(5 * heat, blobs, [0.3, threshold])
    for row in range(3):
        hot = heat[row].numpy() >= threshold * heat[row].max().item()
        expected = jaccard_score(blobs[row].numpy().ravel() > 0, hot.ravel())
        assert found[row, 1] == pytest.approx(expected)


@pytest.mark.parametrize("threshold", [0.2, 0.8, 1.0])
def test_chance_is_the_mean_over_every_shift(heat, blobs, threshold):
    heat[0, 0, 3:7, 2:5] = heat[0, 0, 3, 5:9] = 1  # a region with a shape
    found = overlap_chance(heat, blobs, threshold)
    for row in range(3):
        hot = heat[row, 0].numpy() >= threshold * heat[row].max().item()
        assert found[row] == pytest.approx(reference_chance(hot, blobs[row, 0].numpy() > 0), rel=1e-12)


def test_flat_heat_is_at_chance_and_the_tumour_itself_far_above(blobs):
    flat = torch.full_like(blobs, 0.2)
    assert torch.allclose(overlaps(flat, blobs, [0.5])[:, 0], overlap_chance(flat, blobs, 0.5))
    assert torch.allclose(overlap_chance(flat, blobs, 0.5), blobs.double().mean((1, 2, 3)))
    assert overlaps(blobs, blobs, [0.5])[:, 0].tolist() == [1, 1, 1]
    assert (overlap_chance(blobs, blobs, 0.5) < 0.12).all()


def test_chance_averages_what_blind_regions_find(blobs):
    """Regions at random places, in a row of draws, overlap as often as chance says."""
    rng = np.random.default_rng(0)
    region = torch.zeros_like(blobs[:1])
    region[0, 0, 2:6, 3:8] = 1
    drawn = [
        overlaps(region.roll(tuple(rng.integers(0, (12, 17))), (2, 3)), blobs[:1], [0.5]).item() for _ in range(3000)
    ]
    assert np.mean(drawn) == pytest.approx(
        overlap_chance(region, blobs[:1], 0.5).item(), abs=4 * np.std(drawn) / 3000**0.5
    )


def test_the_best_threshold_is_that_of_the_best_mean_the_lowest_of_equals():
    found = torch.tensor([[0.1, 0.5, 0.5, 0.2], [0.3, 0.1, 0.1, 0.1], [torch.nan] * 4])
    assert best_threshold(found, (0.2, 0.4, 0.6, 0.8)) == 0.4
    assert best_threshold(found[1:], (0.2, 0.4, 0.6, 0.8)) == 0.2
    with pytest.raises(ValueError, match="none of 1 slices has heat"):
        best_threshold(found[2:], (0.2, 0.4, 0.6, 0.8))
    with pytest.raises(ValueError, match=r"overlaps are \(3, 4\), expected \(N, 19\)"):
        best_threshold(found)


def test_a_graded_blob_is_cut_where_the_tumour_ends(blobs):
    ramp = torch.linspace(0, 1, 12 * 17, dtype=torch.float64).reshape(1, 1, 12, 17)
    tumour = (ramp >= 0.7).float()
    assert best_threshold(overlaps(ramp, tumour)) == 0.7


def test_without_heat_there_is_no_overlap(blobs):
    cold = torch.zeros_like(blobs)
    assert overlaps(cold, blobs).isnan().all()
    assert overlap_chance(cold, blobs, 0.5).isnan().all()


def test_wrong_input_is_refused(blobs):
    with pytest.raises(ValueError, match=r"heat is \(3, 12, 17\) and mask \(3, 1, 12, 17\)"):
        overlaps(blobs[:, 0], blobs)
    with pytest.raises(ValueError, match="heat is negative in places"):
        overlap_chance(-blobs, blobs, 0.5)
    for threshold in (0.0, 1.2):
        with pytest.raises(ValueError, match=f"threshold is {threshold}, allowed is above 0 and up to 1"):
            overlaps(blobs, blobs, [threshold])
