"""All maps together; the reference is the benchmark's loop of SciPy and scikit-image over the samples."""

import json
import runpy
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from kdmri_monai.networks.geometry.distance import signed_distance
from kdmri_monai.networks.geometry.maps import IMAGE_MAPS, MASK_MAPS, GeometricMaps
from kdmri_monai.networks.geometry.rings import relative_rings

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "geometric_maps.py"
# what float32 and the constants against flat places make of them, on images of smooth noise
TOLERANCE = {"normal": 2e-3, "coherence": 2e-3, "orientation": 5e-3, "shape": 0.03, "curvedness": 1e-5}


@pytest.fixture(scope="module")
def benchmark():
    with warnings.catch_warnings():  # it silences all warnings, as a script may
        return runpy.run_path(str(BENCHMARK))


@pytest.fixture(scope="module")
def batch(benchmark):
    images, masks = benchmark["random_batch"](3, 64)
    masks[1] = np.roll(masks[1], 25, axis=0)  # over the image's edge
    masks[2] = False
    masks[2, 40, 20] = True
    return torch.from_numpy(images)[:, None], torch.from_numpy(masks)[:, None]


def test_every_channel_equals_scipy_and_scikit_image(benchmark, batch):
    """Within ``TOLERANCE``, all others within 1e-5."""
    image, mask = batch
    maps = GeometricMaps()
    expected = benchmark["maps_by_loop"](image[:, 0].numpy(), mask[:, 0].numpy(), maps)
    got = maps(image, mask).numpy()
    assert got.shape == expected.shape == (3, maps.out_channels, 64, 64)
    for channel, name in enumerate(maps.channel_names):
        tolerance = TOLERANCE.get(name.split("_")[0], 1e-5)
        np.testing.assert_allclose(got[:, channel], expected[:, channel], atol=tolerance, err_msg=name)
        assert name in ("ring_1", "has_mask") or np.ptp(got[0, channel]) > 0


def test_channels_have_names_in_order():
    maps = GeometricMaps(("curvature", "distance", "normal"), ("orientation",), scales=(1.5, 4))
    expected = "distance normal_y_s1.5 normal_x_s1.5 curvature_s1.5 normal_y_s4 normal_x_s4 curvature_s4 has_mask"
    oriented = "orientation_cos_s1.5 orientation_sin_s1.5 orientation_cos_s4 orientation_sin_s4"
    assert maps.channel_names == (*expected.split(), *oriented.split())
    assert maps.out_channels == 12
    assert not list(maps.parameters())


@pytest.mark.parametrize("name", MASK_MAPS)
def test_each_map_from_the_mask_stands_alone(batch, name):
    image, mask = batch
    whole, alone = GeometricMaps(from_image=()), GeometricMaps((name,), ())
    chosen = [whole.channel_names.index(channel) for channel in alone.channel_names]
    torch.testing.assert_close(alone(image, mask), whole(image, mask)[:, chosen], rtol=0, atol=1e-6)
    assert torch.equal(alone(mask=mask), alone(image, mask))


@pytest.mark.parametrize("name", IMAGE_MAPS)
def test_each_map_from_the_image_stands_alone(batch, name):
    image, _ = batch
    whole, alone = GeometricMaps((), IMAGE_MAPS), GeometricMaps((), (name,))
    chosen = [whole.channel_names.index(channel) for channel in alone.channel_names]
    assert "has_mask" not in whole.channel_names
    assert torch.equal(alone(image), whole(image)[:, chosen])


def test_samples_without_a_mask_have_zeros_and_say_so(batch):
    image, mask = batch
    maps = GeometricMaps()
    from_mask = maps.channel_names.index("has_mask") + 1
    some = maps(image, mask, torch.tensor([True, False, True]))
    assert some[1, :from_mask].abs().max() == 0
    assert some[[0, 2], from_mask - 1].min() == 1
    assert torch.equal(some[[0, 2]], maps(image, mask)[[0, 2]])
    assert torch.equal(some[1, from_mask:], maps(image, mask)[1, from_mask:])
    none = maps(image)
    assert none[:, :from_mask].abs().max() == 0
    assert torch.equal(none[:, from_mask:], some[:, from_mask:])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_empty_and_full_masks_give_finite_maps(value):
    maps = GeometricMaps(from_image=())
    out = maps(mask=torch.full((2, 1, 16, 20), value))
    assert out[:, 0].unique().tolist() == [2 * value - 1]
    assert torch.isfinite(out).all()
    scaled = [i for i, name in enumerate(maps.channel_names) if name.startswith(("normal", "curvature"))]
    assert out[:, scaled].abs().max() < 5e-3


def test_maps_of_a_batch_equal_those_of_its_samples(batch):
    image, mask = batch
    maps = GeometricMaps()
    alone = torch.cat([maps(i[None], m[None]) for i, m in zip(image, mask, strict=True)])
    torch.testing.assert_close(maps(image, mask), alone, rtol=0, atol=1e-3)


def test_relative_rings_come_from_the_unclipped_distance(batch):
    _, mask = batch
    maps = GeometricMaps(("distance", "rings"), (), ring_edges=None, distance_limit=3.0)
    out = maps(mask=mask)
    assert torch.equal(out[:, 1:6], relative_rings(signed_distance(mask)))
    assert out[:, 0].abs().max() == 1


def test_volumes_have_three_components_of_the_normal():
    mask = torch.zeros(1, 1, 12, 13, 14)
    mask[..., 3:9, 4:9, 5:10] = 1
    maps = GeometricMaps(from_image=(), scales=(1.0,), spatial_dims=3)
    out = maps(mask=mask)
    assert out.shape == (1, maps.out_channels, 12, 13, 14)
    z, y, x = (maps.channel_names.index(f"normal_{axis}_s1") for axis in "zyx")
    assert out[0, z, 10, 6, 7] > 0.9  # beyond the last slice of the tumour
    assert out[0, y, 6, 10, 7] > 0.9
    assert out[0, x, 6, 6, 11] > 0.9


def test_gradients_reach_the_image(batch):
    image, mask = batch
    image = image.clone().requires_grad_()
    GeometricMaps()(image, mask).sum().backward()
    assert torch.isfinite(image.grad).all()
    assert image.grad.abs().max() > 0


def test_autocast_and_halves_leave_the_maps_in_float32(batch):
    image, mask = batch
    maps = GeometricMaps()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = maps(image, mask)
    assert torch.equal(inside, maps(image, mask))
    assert maps(image.bfloat16(), mask.bfloat16()).dtype == torch.float32


def test_maps_can_be_exported(batch):
    image, mask = batch
    maps = GeometricMaps(scales=(1.0,), ring_edges=(-2.0, 0.0), distance_limit=4.0)
    program = torch.export.export(maps, (image, mask))
    torch.testing.assert_close(program.module()(image, mask), maps(image, mask), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"from_mask": ("depth",)}, r"from_mask has unknown maps \['depth'\]; allowed are \['distance', 'rings'"),
        ({"from_image": ("distance",)}, r"from_image has unknown maps \['distance'\]; allowed are \['coherence'"),
        ({"from_mask": (), "from_image": ()}, "no map is asked for"),
        ({"scales": ()}, "must be positive"),
        ({"scales": (1.0, 0.0)}, "must be positive"),
        ({"distance_limit": 0.0}, "must be positive"),
        ({"ring_edges": (1.0, 0.0)}, "must ascend"),
        ({"spatial_dims": 3}, "maps from the image are 2D"),
        ({"spatial_dims": 1, "from_image": ()}, "spatial_dims is 1"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GeometricMaps(**arguments)


def test_wrong_inputs_are_refused():
    maps, image, mask = GeometricMaps(), torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match=r"an image is needed for \['coherence'"):
        maps(mask=mask)
    with pytest.raises(ValueError, match="an image is needed for the size"):
        GeometricMaps(from_image=())()
    with pytest.raises(ValueError, match=r"got \[\(2, 1, 8, 8\), \(2, 1, 8, 4\)\]"):
        maps(image, mask[..., :4])
    with pytest.raises(ValueError, match=r"must both be \(B, 1\)"):
        maps(image.expand(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"has_mask is \(3,\) for a batch of 2"):
        maps(image, mask, torch.ones(3, dtype=torch.bool))


def test_the_benchmark_prints_its_ratio(benchmark, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--size", "32", "--batch_size", "2", "--rounds", "1", "--device", "cpu"])
    benchmark["main"]()
    printed = json.loads(capsys.readouterr().out)
    assert printed["ratio"] > 0
    assert printed["channels"] == GeometricMaps().out_channels
    assert printed["largest difference"] < 0.1
