"""What modules give, laid out as maps and vectors: grids, prefix tokens, channel order."""

import numpy as np
import pytest
import torch
from torch import nn

from kdmri_monai.networks.tap_layouts import as_features, prefix_that_fits, token_grid
from kdmri_monai.networks.taps import FeatureTaps, Tap, as_tap, tap_shapes


def patch_means(image, patch):
    """NumPy: mean over every patch, patches as a grid."""
    batch, channels = image.shape[:2]
    split = [n for size in image.shape[2:] for n in (size // patch, patch)]
    within = tuple(range(3, 3 + 2 * (image.ndim - 2), 2))
    return image.reshape(batch, channels, *split).mean(axis=within)


class PatchTransformer(nn.Module):
    """Patch means as tokens behind prefix tokens of -1, as plain as a vision transformer can be."""

    def __init__(self, prefix, patch=4, spatial_dims=2):
        super().__init__()
        self.prefix = prefix
        self.pool = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[spatial_dims](patch)
        self.block = nn.Identity()

    def forward(self, image):
        tokens = self.pool(image).flatten(2).transpose(1, 2)
        front = torch.full((len(image), self.prefix, image.shape[1]), -1.0)
        return self.block(torch.cat([front, tokens], dim=1)).mean(dim=1)


def collected(network, tap, image, image_shape=None):
    with FeatureTaps(network, [tap], image_shape).collect() as features:
        network(image)
    return features[0].numpy()


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
def test_tokens_are_laid_out_as_the_image_lies(prefix):
    image = torch.rand(2, 3, 16, 16)
    got = collected(PatchTransformer(prefix), Tap("block", prefix_tokens=prefix), image)
    np.testing.assert_allclose(got, patch_means(image.numpy(), 4), rtol=1e-6)


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("spatial", [(8, 20), (24, 8), (8, 16, 12), (16, 16, 16)])
def test_oblong_images_and_volumes_follow_the_image_shape(prefix, spatial):
    image = torch.rand(2, 3, *spatial)
    network = PatchTransformer(prefix, spatial_dims=len(spatial))
    got = collected(network, Tap("block", prefix_tokens=prefix), image, (3, *spatial))
    np.testing.assert_allclose(got, patch_means(image.numpy(), 4), rtol=1e-6)


def test_a_grid_that_is_given_wins():
    image = torch.rand(2, 3, 8, 32)
    tap = {"module": "block", "prefix_tokens": 1, "grid": [2, 8]}
    got = collected(PatchTransformer(1), tap, image)
    np.testing.assert_allclose(got, patch_means(image.numpy(), 4), rtol=1e-6)
    assert hash(as_tap(tap)) == hash(Tap("block", prefix_tokens=1, grid=(2, 8)))


@pytest.mark.parametrize(
    ("tokens", "spatial", "grid"),
    [
        (196, None, (14, 14)),
        (197, None, None),
        (0, None, None),
        (-3, (8, 8), None),
        (96, (128, 192), (8, 12)),
        (24, (100, 70), (6, 4)),  # patches of 16 that leave a rest
        (512, (64, 64, 64), (8, 8, 8)),
        (36, (48, 48, 64), (3, 3, 4)),
        (64, (48, 48, 64), None),  # a cube, and a square, but not of this image
    ],
)
def test_grids_have_one_stride_for_all_axes(tokens, spatial, grid):
    assert token_grid(tokens, spatial) == grid


@pytest.mark.parametrize("prefix", [0, 1, 2, 5, 8])
def test_the_number_of_prefix_tokens_is_found(prefix):
    assert prefix_that_fits(196 + prefix) == prefix
    assert prefix_that_fits(8 * 12 + prefix, (128, 192)) == prefix


def test_nine_prefix_tokens_are_not_proposed():
    assert prefix_that_fits(196 + 9) is None


@pytest.mark.parametrize("asked", [0, 2])
def test_tokens_with_a_class_token_ask_for_prefix_tokens(asked):
    message = r"^`blocks\.11` gives tokens 197 x 384: set prefix_tokens=1$"
    with pytest.raises(ValueError, match=message):
        as_features(torch.zeros(2, 197, 384), Tap("blocks.11", prefix_tokens=asked))


def test_a_prefix_that_is_not_there_is_told():
    with pytest.raises(ValueError, match="gives tokens 196 x 8: set prefix_tokens=0"):
        as_features(torch.zeros(2, 196, 8), Tap("b", prefix_tokens=1))


def test_the_tap_of_a_network_tells_of_prefix_tokens_too():
    with pytest.raises(ValueError, match="`block` gives tokens 21 x 3: set prefix_tokens=5"):
        tap_shapes(PatchTransformer(5), ["block"], (3, 16, 16))


@pytest.mark.parametrize(
    ("length", "spatial", "words"), [(35, None, "a square"), (13, (13, 1000), "the grid of an image 13 x 1000")]
)
def test_tokens_that_no_prefix_helps_ask_for_a_grid(length, spatial, words):
    message = f"tokens {length} x 8: with no prefix_tokens of 0 to 8 do they fill {words}, set grid"
    with pytest.raises(ValueError, match=message):
        as_features(torch.zeros(2, length, 8), Tap("b"), spatial)


def test_a_grid_of_another_size_is_told():
    with pytest.raises(ValueError, match="tokens 13 x 8: grid 3 x 5 wants 15, without 1 prefix tokens 12 are left"):
        as_features(torch.zeros(2, 13, 8), Tap("b", prefix_tokens=1, grid=(3, 5)))


def test_layouts_that_are_named():
    tokens, image = torch.rand(2, 10, 4), torch.rand(2, 5, 6, 7, 3)
    assert torch.equal(as_features(tokens, Tap("b", layout="class_token")), tokens[:, 0])
    assert torch.equal(as_features(tokens, Tap("b", layout="channel_first")), tokens)
    assert torch.equal(as_features(image, Tap("b")), image)
    assert torch.equal(as_features(image, Tap("b", layout="channel_last")), image.permute(0, 4, 1, 2, 3))
    assert torch.equal(as_features(image[:, 0, 0, 0], Tap("b")), image[:, 0, 0, 0])


@pytest.mark.parametrize(
    ("layout", "shape"),
    [("vector", (2, 3, 4)), ("tokens", (2, 3)), ("class_token", (2, 3, 4, 5)), ("channel_last", (2, 3)), (None, (2,))],
)
def test_a_layout_that_the_dimensions_do_not_fit_is_told(layout, shape):
    with pytest.raises(ValueError, match=rf"`b` gives a tensor of {len(shape)} dimensions .* not of the layout"):
        as_features(torch.zeros(shape), Tap("b", layout=layout))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layout": "chanel_last"}, "layout 'chanel_last' is none of channel_first"),
        ({"at": "inputs"}, "at is 'inputs'"),
        ({"prefix_tokens": -1}, "prefix_tokens is -1"),
        ({"grid": [4, 0]}, "a grid belongs to tokens"),
        ({"grid": [4, 4], "layout": "vector"}, "a grid belongs to tokens"),
        ({"prefix": 1}, "a tap has a module and may have layout, prefix_tokens"),
    ],
)
def test_fields_that_are_wrong_are_told(fields, message):
    with pytest.raises(ValueError, match=message):
        as_tap({"module": "b", **fields})


def test_a_tap_without_a_module_is_told():
    with pytest.raises(ValueError, match="a tap has a module"):
        as_tap({"layout": "tokens"})


@pytest.mark.parametrize(
    ("spec", "label"),
    [("fc", "fc"), ("fc:input", "fc:input"), (Tap("backbone", item=2), "backbone[2]"), ({"module": "b"}, "b")],
)
def test_labels_say_what_is_read(spec, label):
    assert as_tap(spec).label == label
