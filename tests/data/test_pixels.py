"""Reference: numpy.percentile, scikit-image and SciPy."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from skimage.measure import block_reduce

from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.pixels import (
    check_image,
    percentile_range,
    store_image,
    store_mask,
    store_points,
    to_bytes,
)


def reference_bytes(image):
    lower, upper = np.percentile(image.astype(np.float64), [0.5, 99.5])
    return np.rint(np.clip((image.astype(np.float64) - lower) * 255 / (upper - lower), 0, 255))


def reference_area(square, size):
    """Mean over each new pixel's area, by the overlap of old and new pixels along each axis."""
    side = len(square)
    edges = np.arange(size + 1) * side / size
    overlap = np.clip(
        np.minimum(edges[1:, None], np.arange(1, side + 1)) - np.maximum(edges[:-1, None], np.arange(side)), 0, None
    )
    weights = overlap * size / side
    return weights @ square @ weights.T


def noise(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(5, 100, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(max(limits.min, -(2**40)), min(limits.max, 2**40), shape, endpoint=True).astype(dtype)


DTYPES = ["uint8", "int8", "uint16", "int16", "int32", "int64", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(64, 64), (37, 51), (3, 2), (200, 201)])
def test_percentiles_are_those_of_numpy(dtype, shape):
    image = noise(shape, dtype)
    expected = np.percentile(image.astype(np.float64), [0.5, 99.5])
    np.testing.assert_allclose(percentile_range(image), expected, rtol=1e-12)


def test_percentiles_of_few_levels_with_ties_are_those_of_numpy():
    image = np.repeat(np.array([0, 0, 0, 7, 9], np.int16), 41).reshape(5, 41)
    np.testing.assert_allclose(percentile_range(image), np.percentile(image, [0.5, 99.5]), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_bytes_follow_the_formula_for_every_dtype(dtype, order):
    image = np.asarray(noise((60, 50), dtype), order=order)
    got = to_bytes(image, *percentile_range(image))
    assert got.dtype == np.uint8
    np.testing.assert_allclose(got, reference_bytes(image), atol=1e-6)


def test_the_full_range_of_int16_does_not_overflow():
    image = np.array([[-32768, 32767], [0, -1]], np.int16)
    np.testing.assert_array_equal(to_bytes(image, -32768, 32767), [[0, 255], [128, 127]])


@pytest.mark.parametrize("factor", [2, 3, 4, 20])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_whole_factor_gives_block_means(factor, order):
    image = np.asarray(noise((16 * factor, 16 * factor), "int16"), order=order)
    expected = np.rint(block_reduce(reference_bytes(image), (factor, factor), np.mean).astype(np.float32))
    np.testing.assert_array_equal(store_image(image, 16, "x", "pixels"), expected)


@pytest.mark.parametrize("side", [17, 40, 100])
def test_another_factor_gives_area_means(side):
    image = noise((side, side), "int16")
    expected = reference_area(reference_bytes(image), 16)
    assert np.abs(store_image(image, 16, "x", "pixels") - expected).max() <= 0.5 + 1e-4


def test_a_small_image_grows_bilinearly():
    image = noise((20, 20), "int16")
    at = (np.arange(32) + 0.5) * 20 / 32 - 0.5
    expected = map_coordinates(reference_bytes(image), np.meshgrid(at, at, indexing="ij"), order=1, mode="nearest")
    assert np.abs(store_image(image, 32, "x", "pixels") - expected).max() <= 0.51


@pytest.mark.parametrize(("shape", "rows", "columns"), [((32, 20), (0, 32), (6, 26)), ((15, 32), (8, 23), (0, 32))])
def test_an_oblong_image_is_padded_with_zeros_in_the_middle(shape, rows, columns):
    image = noise(shape, "uint8")
    stored = store_image(image, 32, "x", "pixels")
    inside = (slice(*rows), slice(*columns))
    np.testing.assert_array_equal(stored[inside], reference_bytes(image))
    outside = np.ones_like(stored, bool)
    outside[inside] = False
    assert not stored[outside].any()


@pytest.mark.parametrize("side", [32, 40, 16, 10])
def test_a_mask_keeps_what_is_at_least_half_covered(side):
    mask = np.random.default_rng(3).random((side, side)) < 0.5
    if side >= 16:
        expected = reference_area(mask.astype(float), 16) >= 0.5 - 1e-6
    else:
        at = (np.arange(16) + 0.5) * side / 16 - 0.5
        grown = map_coordinates(mask.astype(float), np.meshgrid(at, at, indexing="ij"), order=1, mode="nearest")
        expected = grown >= 0.5 - 1e-6
    np.testing.assert_array_equal(store_mask(mask, 16), expected)


@pytest.mark.parametrize("shape", [(64, 64), (64, 40), (30, 64)])
def test_a_point_stays_on_its_blob(shape):
    mask = np.zeros(shape, bool)
    mask[10:18, 22:30] = True
    stored = store_points(np.array([[25.5, 13.5]]), shape, 32)[0]
    rows, columns = np.nonzero(store_mask(mask, 32))
    np.testing.assert_allclose(stored, [columns.mean(), rows.mean()], atol=1e-9)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.empty((0, 5)), "is empty"),
        (np.zeros(9), "has 1 dimensions (9), 2 are expected"),
        (np.zeros((3, 3, 3)), "has 3 dimensions (3 x 3 x 3), 2 are expected"),
        (np.full((3, 3), 7), "is constant: every pixel is 7"),
        (np.full((3, 3), np.nan), "has 9 of 9 pixels NaN or infinite"),
        (np.array([[1, np.inf], [2, 3]]), "has 1 of 4 pixels NaN or infinite"),
        (np.zeros((1, 101)), "has 1 x 101 pixels, at most 100 on a side are allowed"),
        (np.zeros((3, 3), complex), "has pixels of type complex128, real numbers are expected"),
    ],
)
def test_an_unusable_image_is_refused_by_name_field_and_reason(image, reason):
    with pytest.raises(BadSliceError) as caught:
        check_image(image, "a/1.mat", "cjdata/image", ReadLimits(side=100))
    assert (caught.value.name, caught.value.field, caught.value.reason) == ("a/1.mat", "cjdata/image", reason)


def test_an_image_with_a_handful_of_other_pixels_is_refused():
    image = np.zeros((100, 100), np.int16)
    image[0, :3] = 9
    with pytest.raises(BadSliceError, match="nearly constant"):
        store_image(image, 50, "x", "pixels")
