"""Feature taps: right maps, untouched outputs, hooks that go away."""

import pytest
import torch
from monai.networks.nets import ViT, resnet10
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import nn

from kdmri_monai.networks import FeatureTaps, FirstOutput, PooledClassifier, Tap, tap_shapes


def small_resnet():
    return resnet10(spatial_dims=2, n_input_channels=1, num_classes=3, conv1_t_stride=2, widen_factor=0.125)


def small_swin(spatial_dims=2):
    backbone = SwinTransformer(
        in_chans=1,
        embed_dim=12,
        window_size=(4,) * spatial_dims,
        patch_size=(4,) * spatial_dims,
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 3, 6),
        spatial_dims=spatial_dims,
    )
    return PooledClassifier(backbone, num_features=192, num_classes=3)


def small_vit():
    vit = ViT(1, 32, 8, 24, 48, 2, 3, classification=True, num_classes=3, spatial_dims=2, post_activation=None)
    return FirstOutput(vit)


SWIN_TAPS = ["backbone.patch_embed", "backbone.layers1.0", "backbone.layers2.0"]
VIT_TAPS = [{"module": "network.blocks.0", "prefix_tokens": 1}, Tap("network.blocks.1", prefix_tokens=1)]
NETWORKS = {
    "cnn": (small_resnet, ["layer1", "layer2", "layer4"], [(8, 8, 8), (16, 4, 4), (64, 1, 1)]),
    "swin": (small_swin, SWIN_TAPS, [(12, 8, 8), (24, 4, 4), (48, 2, 2)]),
    "vit": (small_vit, VIT_TAPS, [(24, 4, 4), (24, 4, 4)]),
}


@pytest.fixture(params=NETWORKS)
def case(request):
    make, taps, shapes = NETWORKS[request.param]
    torch.manual_seed(0)
    return make().eval(), taps, shapes


def test_tapping_leaves_the_output_unchanged(case):
    network, taps, _ = case
    image = torch.rand(2, 1, 32, 32)
    plain = network(image)
    with FeatureTaps(network, taps).collect():
        tapped = network(image)
    assert torch.equal(plain, tapped)


def test_shapes_come_from_a_dry_run_that_restores_the_mode(case):
    network, taps, shapes = case
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert [tuple(shape) for shape in tap_shapes(network, taps, (1, 32, 32))] == shapes
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_hooks_are_removed_even_after_an_error(case):
    network, taps, _ = case
    with pytest.raises(KeyError), FeatureTaps(network, taps).collect():
        raise KeyError
    assert not any(module._forward_hooks for module in network.modules())


def test_the_map_is_what_the_module_gave():
    network = small_resnet().eval()
    image = torch.rand(2, 1, 32, 32)
    with FeatureTaps(network, ["layer1"]).collect() as features:
        network(image)
    expected = network.layer1(network.maxpool(network.act(network.bn1(network.conv1(image)))))
    torch.testing.assert_close(features[0], expected)


def test_prefix_tokens_are_dropped_from_the_front_and_the_grid_is_row_first():
    network = small_vit().eval()
    image = torch.rand(2, 1, 32, 32)
    with FeatureTaps(network, [VIT_TAPS[0]]).collect() as features:
        tokens = network.network(image)[1][0]
    row, column = 1, 2
    torch.testing.assert_close(features[0][:, :, row, column], tokens[:, 1 + 4 * row + column])


def test_channel_last_maps_are_turned():
    class ChannelLast(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 5)

        def forward(self, image):
            return self.inner(image.movedim(1, -1))

    network = ChannelLast()
    with FeatureTaps(network, [{"module": "inner", "layout": "channel_last"}]).collect() as features:
        network(torch.rand(2, 3, 4, 6))
    assert features[0].shape == (2, 5, 4, 6)


def test_gradients_flow_through_the_tapped_maps():
    network = small_resnet()
    with FeatureTaps(network, ["layer2"]).collect() as features:
        network(torch.rand(2, 1, 64, 64))
    features[0].sum().backward()
    assert network.conv1.weight.grad is not None
    assert network.layer3[0].conv1.weight.grad is None


def test_an_unknown_name_lists_near_names():
    with pytest.raises(ValueError, match=r"ResNet has no module 'layr1'; near names: layer1"):
        FeatureTaps(small_resnet(), ["layr1"])


def test_tokens_with_a_class_token_ask_for_prefix_tokens():
    message = r"network.blocks.0 gives tokens 17 x 24; without 0 prefix tokens 17 are left.*set prefix_tokens"
    with pytest.raises(ValueError, match=message):
        tap_shapes(small_vit(), ["network.blocks.0"], (1, 32, 32))


def test_a_tuple_is_no_map():
    with pytest.raises(ValueError, match="network gives tuple, a tap wants one tensor"):
        tap_shapes(small_vit(), ["network"], (1, 32, 32))


def test_a_module_that_does_not_run_is_named():
    network = small_resnet()
    with pytest.raises(RuntimeError, match="layer1 did not run"), FeatureTaps(network, ["layer1"]).collect():
        pass


def test_volumes_are_tapped_too():
    shapes = tap_shapes(small_swin(spatial_dims=3), SWIN_TAPS[:2], (1, 32, 32, 32))
    assert [tuple(shape) for shape in shapes] == [(12, 8, 8, 8), (24, 4, 4, 4)]
