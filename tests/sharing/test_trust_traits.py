"""Numbers of a picture that can be checked by eye."""

import numpy as np
import pytest
from skimage.draw import ellipse

from kdmri_monai.data.phantom.slices import phantom_slice
from kdmri_monai.data.pixels import store_image
from kdmri_monai.sharing.trust_traits import NARROWEST, WORDS, traits

SIDE = 128


def head(rows=44, columns=36, centre=(64, 64)):
    """A bright ellipse on black."""
    picture = np.zeros((SIDE, SIDE), np.uint8)
    picture[ellipse(*centre, rows, columns)] = 180
    return picture


def test_every_trait_has_a_name_for_people_and_a_width():
    assert list(traits(head())) == list(WORDS)
    assert set(NARROWEST) == set(WORDS)


def test_an_ellipse_has_the_area_width_and_place_that_geometry_says():
    found = traits(head())
    area = np.pi * 44 * 36 / SIDE**2
    assert found["largest"] == pytest.approx(area, rel=0.04)
    assert found["foreground"] == pytest.approx(area, rel=0.04)
    assert found["roundness"] == pytest.approx(36 / 44, abs=0.03)
    assert found["solidity"] > 0.95
    assert found["off_centre"] < 0.02
    assert found["alone"] == 1.0
    assert found["symmetry"] > 0.95
    assert (found["corners"], found["frame"]) == (0.0, 0.0)
    assert found["black"] == pytest.approx(1 - area, rel=0.04)
    assert (found["white"], found["grey_levels"]) == (0.0, 2.0)
    assert found["mean"] == pytest.approx(area * 180 / 255, rel=0.04)


def test_a_head_that_is_moved_lies_off_the_centre():
    assert traits(head(centre=(64, 84)))["off_centre"] == pytest.approx(20 / SIDE, abs=0.01)


def test_a_hole_belongs_to_the_object_around_it_and_a_second_object_does_not():
    hollow, both = head(), head(30, 30)
    hollow[50:70, 50:70] = 0
    both[4:12, 4:12] = 200
    assert traits(hollow)["largest"] == pytest.approx(traits(head())["largest"])
    assert traits(both)["alone"] == pytest.approx(1 - 64 / (64 + np.pi * 900), abs=0.01)


def test_half_a_head_is_less_like_its_mirror_image():
    half = head()
    half[:, :64] //= 3
    assert traits(half)["symmetry"] < 0.2 < traits(head())["symmetry"]


def test_noise_steps_inverted_corners_and_saturation_are_seen():
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    assert traits(noise)["grain"] == pytest.approx(1 / 3, abs=0.01)
    inverted = traits(255 - head())
    assert (inverted["corners"], inverted["frame"]) == (1.0, 1.0)
    assert inverted["white"] == pytest.approx(traits(head())["black"])


@pytest.mark.parametrize("value", [0, 255])
def test_a_picture_of_one_value_has_finite_traits(value):
    found = traits(np.full((SIDE, SIDE), value, np.uint8))
    assert np.isfinite(list(found.values())).all()
    assert found["foreground"] == float(value > 0)


def test_a_phantom_head_lies_in_one_piece_in_the_middle():
    made = phantom_slice("axial", None, np.random.default_rng(3), 128)
    found = traits(store_image(made.image, 128, "", ""))
    assert found["alone"] > 0.95
    assert found["off_centre"] < 0.1
    assert 0.2 < found["largest"] < 0.8
    assert found["corners"] < 0.05
