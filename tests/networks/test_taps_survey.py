"""The list of places to tap agrees with what taps give."""

import pytest
import torch
from monai.networks.nets import ViT, resnet10
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import nn

from kdmri_monai.networks.tap_survey import survey
from kdmri_monai.networks.taps import Tap, tap_shapes

RESNET = {"n_input_channels": 1, "num_classes": 3, "conv1_t_stride": 2, "widen_factor": 0.125}


def small_swin(spatial_dims):
    sizes = [(size,) * spatial_dims for size in (4, 2)]
    return SwinTransformer(1, 12, *sizes, (1, 1, 1, 1), (1, 2, 3, 6), spatial_dims=spatial_dims)


def small_vit(spatial_dims):
    return ViT(1, 32, 8, 24, 48, 1, 3, classification=True, num_classes=3, spatial_dims=spatial_dims)


NETWORKS = {
    "resnet, slices": (lambda: resnet10(spatial_dims=2, **RESNET), 2),
    "resnet, volumes": (lambda: resnet10(spatial_dims=3, **RESNET), 3),
    "swin, slices": (lambda: small_swin(2), 2),
    "swin, volumes": (lambda: small_swin(3), 3),
    "vit, slices": (lambda: small_vit(2), 2),
    "vit, volumes": (lambda: small_vit(3), 3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_row_with_a_stride_can_be_tapped_and_gives_a_map_of_that_stride(name):
    make, dims = NETWORKS[name]
    network, image_shape = make(), (1, *[32] * dims)
    rows = [row for row in survey(network, image_shape) if row.stride]
    taps = [Tap(row.name, layout=row.layout, prefix_tokens=row.prefix_tokens) for row in rows]
    shapes = tap_shapes(network, taps, image_shape)
    assert len(rows) > 10
    for row, shape in zip(rows, shapes, strict=True):
        assert len(shape) == dims + 1
        assert row.stride == tuple(32 / size for size in shape[1:]), row.name


def rows_of(network, image_shape, **options):
    return {row.name: row for row in survey(network, image_shape, **options)}


def test_a_cnn_has_maps_and_vectors():
    rows = rows_of(resnet10(spatial_dims=2, **RESNET), (1, 48, 64))
    assert rows["layer2"].shape == (16, 6, 8)
    assert (rows["layer2"].layout, rows["layer2"].stride) == ("channel_first", (8, 8))
    assert (rows["fc"].layout, rows["fc"].stride, rows["fc"].shape) == ("vector", None, (3,))
    assert rows["fc"].parameters == 64 * 3 + 3
    assert rows["layer2"].kind == "Sequential"
    assert "layer1.0.act" not in rows  # runs twice


def test_depth_leaves_out_what_is_inside():
    rows = rows_of(resnet10(spatial_dims=2, **RESNET), (1, 32, 32), depth=1)
    assert list(rows) == ["conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc"]


def test_a_class_token_is_found():
    row = rows_of(small_vit(2), (1, 32, 32))["blocks.0"]
    assert (row.layout, row.shape, row.prefix_tokens, row.stride) == ("tokens", (17, 24), 1, (8, 8))


def test_channel_last_maps_are_told_and_windows_left_out():
    rows = rows_of(small_swin(2), (1, 32, 32))
    assert rows["layers1.0"].layout == "channel_first"
    assert (rows["layers1.0.blocks.0"].layout, rows["layers1.0.blocks.0"].stride) == ("channel_last", (2, 2))
    assert "layers1.0.blocks.0.attn" not in rows


def test_modules_that_give_no_tensor_or_do_not_run_are_left_out():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.split = nn.Identity()
            self.unused = nn.ReLU()
            self.inner = nn.MaxPool2d(2, return_indices=True)

        def forward(self, image):
            return self.inner(self.split(image))

    assert list(rows_of(nn.Sequential(Pair()), (1, 8, 8))) == ["0.split"]


def test_the_network_is_left_as_it_was():
    network = resnet10(spatial_dims=2, **RESNET).train()
    network.layer1.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    survey(network, (1, 32, 32))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_compiled_networks_are_refused():
    with pytest.raises(ValueError, match="cannot be tapped, since it was compiled"):
        survey(torch.compile(nn.Sequential(nn.ReLU()), backend="eager"), (1, 8, 8))
