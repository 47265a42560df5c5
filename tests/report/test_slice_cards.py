"""Pictures and paths of slices: small, upright, and where the tumour is."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from skimage.draw import polygon

from kdmri_monai.report.slice_cards import border_path, encode_heat, encode_image


def decoded(picture, mode):
    return np.asarray(Image.open(io.BytesIO(picture)).convert(mode)).astype(float)


def filled(path, side):
    """What a browser would fill: the path's parts, even and odd."""
    mask = np.zeros((side, side), dtype=bool)
    for part in re.findall(r"M([^Z]+)Z", path):
        x, y = np.array([point.split() for point in part.split("L")], dtype=float).T
        rows, columns = polygon(y * side - 0.5, x * side - 0.5, mask.shape)
        mask[rows, columns] ^= True
    return mask


def blob(side=64):
    """Upper left, wider than high."""
    mask = np.zeros((side, side), dtype=bool)
    mask[8:16, 6:26] = True
    return mask


def test_a_blob_stays_where_it_is_in_picture_heat_and_border():
    mask = blob()
    picture = decoded(encode_image(np.where(mask, 250, 10).astype(np.uint8)), "L")
    heat = decoded(encode_heat(mask.astype(float)), "RGBA")[..., 3]
    for shown in (picture, heat):
        rows, columns = np.nonzero(shown > shown.max() / 2)
        assert rows.mean() / shown.shape[0] == pytest.approx(11.5 / 64, abs=0.06)
        assert columns.mean() / shown.shape[1] == pytest.approx(15.5 / 64, abs=0.06)
    assert (filled(border_path(mask), 64) == mask).mean() > 0.99


@pytest.mark.parametrize("side", [32, 100, 512])
def test_a_slice_is_not_enlarged_and_large_ones_are_small(side):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side)).astype(np.uint8)
    assert decoded(encode_image(pixels, 96), "L").shape == (min(side, 96),) * 2


def test_six_hundred_slices_fit_into_a_page():
    noise = np.random.default_rng(0).integers(0, 256, (256, 256)).astype(np.uint8)
    smooth = np.add.outer(np.arange(256), np.arange(256)).astype(np.uint8) // 2
    assert len(encode_image((noise // 4 + smooth // 2).astype(np.uint8))) < 9_000
    assert len(encode_heat(np.random.default_rng(0).random((32, 32)))) < 800


def test_cold_heat_is_clear():
    assert decoded(encode_heat(np.zeros((6, 6))), "RGBA")[..., 3].max() == 0


def test_heat_is_strongest_where_it_is_hottest():
    heat = np.outer(np.linspace(0, 1, 10), np.linspace(0, 1, 10))
    alpha = decoded(encode_heat(heat), "RGBA")[..., 3]
    assert np.corrcoef(alpha.ravel(), heat.ravel())[0, 1] > 0.99
    assert alpha.argmax() == heat.argmax()


def test_a_border_has_a_part_for_every_tumour_and_hole_and_closes_at_the_edge():
    mask = blob()
    mask[10:13, 10:14] = False
    mask[60:, 60:] = True
    path = border_path(mask)
    assert path.count("M") == path.count("Z") == 3
    assert (filled(path, 64) == mask).mean() > 0.99
    assert all(0 <= float(number) <= 1 for number in re.findall(r"[\d.]+", path))


def test_no_tumour_has_no_border():
    assert border_path(np.zeros((8, 8), dtype=bool)) == ""


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.zeros((4, 4, 3), np.uint8)])
def test_what_is_no_slice_is_refused(pixels):
    with pytest.raises(ValueError, match="expected uint8"):
        encode_image(pixels)


@pytest.mark.parametrize("heat", [np.full((3, 3), -1.0), np.full((3, 3), np.nan), np.zeros(3)])
def test_what_is_no_heat_is_refused(heat):
    with pytest.raises(ValueError, match="heat is"):
        encode_heat(heat)
