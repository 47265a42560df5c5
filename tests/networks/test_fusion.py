"""What every fusion layer does: sizes, gradients, orders, export, the factory and its errors."""

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from kdmri_monai.networks import AttentionBasedFusion, Fusion, get_fusion_layer
from kdmri_monai.networks.fusion import BiFPNFusion, ConcatFusion, CrossAttentionFusion

CLASSES = {
    "ABF": AttentionBasedFusion,
    "CROSS_ATTENTION": CrossAttentionFusion,
    "BIFPN": BiFPNFusion,
    "CONCAT": ConcatFusion,
}
NAMES = {name: (name, {} if name == "CONCAT" else {"width": 8}) for name in CLASSES}
IN, OUT, SIZES = [4, 6, 8], [5, 7, 9], [(17, 12), (9, 6), (5, 3)]

every_member = pytest.mark.parametrize("name", list(NAMES.values()), ids=list(NAMES))


def maps(sizes=SIZES, channels=IN, batch=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, c, *s, generator=generator) for c, s in zip(channels, sizes, strict=True)]


def seeded(name, spatial_dims=2, in_channels=IN, out_channels=OUT):
    torch.manual_seed(1)
    return get_fusion_layer(name, spatial_dims, in_channels, out_channels)


@every_member
@pytest.mark.parametrize(
    "sizes",
    [
        [(17,), (8,), (5,)],
        SIZES,
        [(7, 7), (7, 7), (7, 7)],
        [(16, 8), (8, 8), (4, 16)],
        [(9, 11, 7), (5, 6, 4), (3, 3, 2)],
        [(12, 12, 4), (6, 6, 4), (3, 3, 4)],
    ],
    ids=["1D", "2D odd", "one grid, as of a ViT", "axes of other strides", "3D odd", "3D thick slices"],
)
def test_fused_maps_keep_their_sizes_and_take_the_wanted_channels(name, sizes):
    fused = seeded(name, spatial_dims=len(sizes[0]))(maps(sizes))
    assert isinstance(fused, list)
    assert [tuple(m.shape) for m in fused] == [(2, c, *s) for c, s in zip(OUT, sizes, strict=True)]


@every_member
def test_one_scale_is_allowed(name):
    assert seeded(name, 2, [4], [5])(maps()[:1])[0].shape == (2, 5, 17, 12)


@every_member
@pytest.mark.parametrize("sizes", [SIZES, [(9, 7, 5), (5, 4, 3), (3, 2, 2)]], ids=["2D", "3D"])
def test_every_parameter_gets_a_gradient(name, sizes):
    layer = seeded(name, spatial_dims=len(sizes[0]))
    torch.stack([(m * torch.randn_like(m)).sum() for m in layer(maps(sizes))]).sum().backward()
    assert [n for n, p in layer.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []


@pytest.mark.parametrize("name", ["CROSS_ATTENTION", "BIFPN", "CONCAT"])
def test_every_scale_reaches_every_fused_map(name):
    layer = seeded(NAMES[name]).eval()
    inputs = [m.requires_grad_() for m in maps()]
    for fused in layer(inputs):
        assert all(g.abs().sum() > 0 for g in torch.autograd.grad(fused.square().sum(), inputs, retain_graph=True))


@every_member
def test_samples_of_a_batch_do_not_see_each_other(name):
    layer, order = seeded(name).eval(), [2, 0, 3, 1]
    inputs = maps(batch=4)
    with torch.no_grad():
        together, permuted = layer(inputs), layer([m[order] for m in inputs])
        alone = layer([m[1:2] for m in inputs])
    for whole, moved, single in zip(together, permuted, alone, strict=True):
        torch.testing.assert_close(moved, whole[order])
        torch.testing.assert_close(single, whole[1:2])


@every_member
def test_inputs_are_left_as_they_were(name):
    inputs, before = maps(), maps()
    seeded(name)(inputs)
    for now, then in zip(inputs, before, strict=True):
        torch.testing.assert_close(now, then, rtol=0, atol=0)


@every_member
def test_normalisation_can_be_chosen_as_in_monai(name):
    kind, arguments = name
    layer = seeded([kind, {**arguments, "norm": ["group", {"num_groups": 1}]}])
    assert not any(isinstance(m, nn.BatchNorm2d) for m in layer.modules())
    assert any(isinstance(m, nn.GroupNorm) for m in layer.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in seeded(name).modules())


@every_member
def test_autocast_gives_bfloat16_maps_close_to_those_of_float32(name):
    layer = seeded(name).eval()
    exact = layer(maps())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = layer(maps())
    torch.stack([m.float().square().mean() for m in fused]).sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())
    for half, full in zip(fused, exact, strict=True):
        assert half.dtype == torch.bfloat16
        assert (half - full).abs().max() < 0.05 * full.abs().max()


@every_member
@pytest.mark.parametrize("sizes", [SIZES, [(6, 7, 5), (3, 4, 3), (2, 2, 2)]], ids=["2D", "3D"])
def test_exported_program_takes_batches_of_any_size(name, sizes):
    layer = seeded(name, spatial_dims=len(sizes[0])).eval()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(layer, (maps(sizes),), dynamic_shapes=([{0: batch}] * len(sizes),)).module()
    for count in (1, 5):
        for got, expected in zip(exported(maps(sizes, batch=count)), layer(maps(sizes, batch=count)), strict=True):
            torch.testing.assert_close(got, expected)


@every_member
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # sizes are fixed by a trace, and it says so
def test_traced_layer_takes_batches_of_any_size(name):
    layer = seeded(name).eval()
    traced = torch.jit.trace(layer, (maps(),), strict=False)  # strict refuses lists as output
    for got, expected in zip(traced(maps(batch=5)), layer(maps(batch=5)), strict=True):
        torch.testing.assert_close(got, expected)


@every_member
def test_weights_load_into_a_new_layer(name):
    layer, fresh = seeded(name), get_fusion_layer(name, 2, IN, OUT)
    layer(maps())  # moves the running statistics
    fresh.load_state_dict(layer.state_dict())
    with torch.no_grad():
        for got, expected in zip(fresh.eval()(maps()), layer.eval()(maps()), strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "expected"), CLASSES.items())
def test_factory_gives_the_class_and_describes_it(name, expected):
    assert Fusion[name, 2] is expected
    assert getattr(Fusion, name) == name
    assert len(Fusion.components[name].description) > 20
    assert type(get_fusion_layer(name.lower(), 2, IN, OUT)) is expected
    assert type(get_fusion_layer(name.title(), 3, IN, OUT)) is expected


def test_factory_member_is_built_with_keywords():
    layer = Fusion["ABF", 2](spatial_dims=2, in_channels=IN, out_channels=OUT, width=8)
    assert layer.lateral[0][0].out_channels == 8


def test_a_bundle_names_the_layer_in_json():
    config = {
        "fusion": {
            "_target_": "kdmri_monai.networks.get_fusion_layer",
            "name": ["cross_attention", {"num_heads": 2, "width": 16}],
            "spatial_dims": 2,
            "in_channels": IN,
            "out_channels": "$[2 * c for c in @fusion::in_channels]",
        }
    }
    layer = ConfigParser(config).get_parsed_content("fusion")
    assert isinstance(layer, CrossAttentionFusion)
    assert layer.layers[0].attention.num_heads == 2
    assert [m.shape[1] for m in layer(maps())] == [8, 12, 16]


def test_an_unknown_fusion_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="Unsupported option 'PYRAMID'") as refused:
        get_fusion_layer("pyramid", 2, IN, OUT)
    assert all(f"'{name}'" in str(refused.value) for name in CLASSES)


def test_a_name_without_its_arguments_is_refused():
    with pytest.raises(ValueError, match=r"a name and a mapping of arguments; got \['abf'\]"):
        get_fusion_layer(["abf"], 2, IN, OUT)


@every_member
def test_scales_must_match(name):
    with pytest.raises(ValueError, match=r"in_channels \[4, 6, 8\] and out_channels \[5\] name other scales"):
        get_fusion_layer(name, 2, IN, [5])
    with pytest.raises(ValueError, match="in_channels is empty, a fusion layer wants at least one scale"):
        get_fusion_layer(name, 2, [], [])
    with pytest.raises(ValueError, match="got 2 maps for 3 scales"):
        get_fusion_layer(name, 2, IN, OUT)(maps()[:2])


@every_member
@pytest.mark.parametrize("spatial_dims", [0, 4])
def test_other_dimensions_are_refused(name, spatial_dims):
    with pytest.raises(ValueError, match=f"spatial_dims is {spatial_dims}, it must be 1, 2 or 3"):
        get_fusion_layer(name, spatial_dims, IN, OUT)


@pytest.mark.parametrize("name", ["abf", "cross_attention"])
@pytest.mark.parametrize("kernel_size", [0, 2])
def test_even_kernels_are_refused(name, kernel_size):
    with pytest.raises(ValueError, match=f"kernel_size is {kernel_size}, it must be odd and positive"):
        get_fusion_layer((name, {"kernel_size": kernel_size}), 2, IN, OUT)
