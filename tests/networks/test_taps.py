"""Feature taps: right maps, untouched outputs, hooks that go away."""

import pytest
import torch
from monai.networks.nets import DenseNet121, EfficientNetBN, ViT, resnet10
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


def test_a_tuple_is_no_map():
    with pytest.raises(ValueError, match=r"`network` gives tuple.*one tensor: set item \(0 to 1\) or name a module"):
        tap_shapes(small_vit(), ["network"], (1, 32, 32))


def test_a_module_that_does_not_run_is_named():
    network = small_resnet()
    with pytest.raises(RuntimeError, match="layer1 did not run"), FeatureTaps(network, ["layer1"]).collect():
        pass


def test_a_module_that_runs_twice_is_named():
    # MONAI's residual blocks use one activation twice
    with pytest.raises(RuntimeError, match=r"layer1\.0\.act ran twice"):
        tap_shapes(small_resnet(), ["layer1.0.act"], (1, 32, 32))


def test_two_passes_in_one_block_are_refused():
    network = small_resnet().eval()
    with FeatureTaps(network, ["layer1"]).collect():
        network(torch.rand(2, 1, 32, 32))
        with pytest.raises(RuntimeError, match="layer1 ran twice"):
            network(torch.rand(2, 1, 32, 32))


def test_a_pattern_names_modules_of_its_own_depth_in_their_order():
    network = small_resnet()
    names = [tap.module for tap in FeatureTaps(network, ["layer*", "fc"]).taps]
    assert names == ["layer1", "layer2", "layer3", "layer4", "fc"]
    assert [tap.module for tap in FeatureTaps(network, ["layer[24].?.conv1"]).taps] == [
        "layer2.0.conv1",
        "layer4.0.conv1",
    ]


def test_the_fields_of_a_pattern_hold_for_all_its_modules():
    spec = {"module": "network.blocks.[01]", "prefix_tokens": 1}
    taps = FeatureTaps(small_vit(), [spec])
    assert taps.taps == (Tap("network.blocks.0", prefix_tokens=1), Tap("network.blocks.1", prefix_tokens=1))
    assert len(taps) == 2
    assert [tuple(shape) for shape in tap_shapes(small_vit(), [spec], (1, 32, 32))] == [(24, 4, 4)] * 2


def test_a_pattern_without_a_match_lists_near_names():
    with pytest.raises(ValueError, match=r"ResNet has no module 'layr\*'; near names: .*layer1"):
        FeatureTaps(small_resnet(), ["layr*"])


def test_the_input_of_a_module_is_read():
    network = small_resnet().eval()
    image = torch.rand(2, 1, 32, 32)
    with FeatureTaps(network, ["layer4", "fc:input", "fc"]).collect() as features:
        logits = network(image)
    maps, vectors, output = features
    torch.testing.assert_close(vectors, maps.mean(dim=(2, 3)))
    assert torch.equal(output, logits)


def test_a_module_without_positional_input_is_told():
    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.ReLU()

        def forward(self, image):
            return self.inner(input=image)

    network = Keyword()
    with pytest.raises(ValueError, match="inner is given no positional input"):
        tap_shapes(network, ["inner:input"], (1, 4, 4))


def test_an_item_of_a_list_is_read():
    network = small_swin().eval()
    image = torch.rand(2, 1, 32, 32)
    with FeatureTaps(network, [Tap("backbone", item=1), Tap("backbone", item=-1)]).collect() as features:
        network(image)
    maps = network.backbone(image)
    assert torch.equal(features[0], maps[1])
    assert torch.equal(features[1], maps[-1])


@pytest.mark.parametrize(("tap", "words"), [("backbone", "list of 5"), ("norm", "Tensor")])
def test_an_item_that_is_not_there_is_told(tap, words):
    with pytest.raises(ValueError, match=f"`{tap}` gives {words}, which has no item 7"):
        tap_shapes(small_swin(), [Tap(tap, item=7)], (1, 32, 32))


def test_later_layers_that_work_in_place_do_not_change_the_features():
    """An in-place ReLU follows the features of MONAI's DenseNet."""
    torch.manual_seed(0)
    network = DenseNet121(2, 1, 3, init_features=8, growth_rate=4, block_config=(1, 1, 1, 1)).eval()
    image = torch.rand(2, 1, 64, 64)
    with FeatureTaps(network, ["features", "class_layers.relu:input"]).collect() as features:
        network(image)
    expected = network.features(image)
    assert expected.min() < 0
    torch.testing.assert_close(features[0], expected)
    torch.testing.assert_close(features[1], expected)


def test_samples_that_do_not_come_first_are_refused():
    with pytest.raises(ValueError, match=r"gives 8 samples for a batch of 2 \(windows"):
        tap_shapes(small_swin(), ["backbone.layers1.0.blocks.0.attn"], (1, 32, 32))


def test_a_dry_run_restores_the_mode_of_every_module():
    network = small_resnet().train()
    network.layer2.eval()
    before = [module.training for module in network.modules()]
    tap_shapes(network, ["layer1"], (1, 32, 32))
    assert [module.training for module in network.modules()] == before
    with pytest.raises(RuntimeError):
        tap_shapes(network, ["layer1.0.act"], (1, 32, 32))
    assert [module.training for module in network.modules()] == before


def test_a_dry_run_follows_the_device_and_precision_of_the_network():
    assert tap_shapes(small_resnet().to("meta"), ["layer1"], (1, 32, 32)) == [torch.Size([8, 8, 8])]
    assert tap_shapes(small_resnet().double(), ["layer1"], (1, 32, 32)) == [torch.Size([8, 8, 8])]


def test_networks_without_parameters_are_tapped():
    network = nn.Sequential(nn.AvgPool2d(2), nn.Flatten())
    assert [tuple(shape) for shape in tap_shapes(network, ["0", "1"], (3, 8, 8))] == [(3, 4, 4), (48,)]


VOLUMES = {
    "resnet": (
        lambda: resnet10(n_input_channels=1, num_classes=3, conv1_t_stride=2, widen_factor=0.125),
        ["layer[12]"],
        [(8, 8, 8, 8), (16, 4, 4, 4)],
    ),
    "swin": (lambda: small_swin(spatial_dims=3), SWIN_TAPS[:2], [(12, 8, 8, 8), (24, 4, 4, 4)]),
    "vit": (
        lambda: FirstOutput(ViT(1, 32, 8, 24, 48, 1, 3, classification=True, num_classes=3, spatial_dims=3)),
        VIT_TAPS[:1],
        [(24, 4, 4, 4)],
    ),
}


@pytest.mark.parametrize("name", VOLUMES)
def test_volumes_are_tapped_too(name):
    make, taps, shapes = VOLUMES[name]
    assert [tuple(shape) for shape in tap_shapes(make(), taps, (1, 32, 32, 32))] == shapes


def test_efficientnet_is_tapped_by_its_blocks():
    network = EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=1, num_classes=3)
    shapes = tap_shapes(network, ["_blocks.1.1", "_blocks.2.?", "_fc:input"], (1, 64, 64))
    assert [tuple(shape) for shape in shapes] == [(24, 16, 16), (40, 8, 8), (40, 8, 8), (1280,)]
