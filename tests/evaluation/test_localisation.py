"""Grad-CAM and its shares. References: a linear head in closed form, MONAI image by image, SciPy."""

import numpy as np
import pytest
import torch
from monai.networks.nets import ViT, resnet10
from monai.networks.nets.swin_unetr import SwinTransformer
from monai.visualize import GradCAM
from scipy.ndimage import distance_transform_edt
from torch import nn

from kdmri_monai.evaluation.localisation import (
    area_share,
    energy_in_mask,
    energy_over_chance,
    grad_cam,
    pointing_chance,
    pointing_game,
)
from kdmri_monai.networks.adapters import FirstOutput, PooledClassifier
from kdmri_monai.networks.taps import Tap


def reference_pointing(heat, mask, tolerance):
    """One image with a single hottest pixel."""
    peak = np.unravel_index(heat.argmax(), heat.shape)
    return float(distance_transform_edt(~mask)[peak] <= tolerance)


class Quadrants(nn.Module):
    """Class k is the brightness of a quadrant: upper left 0, upper right 1, lower left 2."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Conv2d(1, 3, 1, bias=False)
        self.seen = nn.Identity()
        nn.init.ones_(self.maps.weight)

    def forward(self, image):
        maps = self.seen(self.maps(image))
        height, width = (size // 2 for size in image.shape[2:])
        places = torch.zeros(3, *image.shape[2:])
        places[0, :height, :width] = places[1, :height, width:] = places[2, height:, :width] = 1
        return (maps * places).mean((2, 3))


class InPlaceAfter(nn.Module):
    """Channel weights are the last layer's; an in-place ReLU follows the convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(4, 3)

    def forward(self, image):
        return self.fc(self.relu(self.conv(image)).mean((2, 3)))


@pytest.fixture
def blob():
    """Two oblong images 16 x 24 with a blob, wider than high, in the upper right and in the lower left."""
    image = torch.zeros(2, 1, 16, 24)
    image[0, 0, 2:5, 14:22] = 1
    image[1, 0, 10:13, 2:10] = 1
    return image


@pytest.fixture
def network():
    torch.manual_seed(0)
    net = resnet10(spatial_dims=2, n_input_channels=1, num_classes=3, widen_factor=0.125, conv1_t_stride=2)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return net


# Grad-CAM


def test_an_asymmetric_blob_is_hot_where_it_is_and_nowhere_else(blob):
    heat = grad_cam(Quadrants(), blob, "seen")
    assert heat.shape == blob.shape
    assert torch.equal(heat > 0, blob > 0)
    assert torch.equal(energy_in_mask(heat, blob), torch.ones(2, dtype=torch.float64))


def test_a_network_that_looks_at_one_place_is_hot_there(blob):
    """The layer sees the upper right quadrant alone: blobs elsewhere are cold, whatever the class."""
    net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(16 * 24, 3, bias=False))
    place = torch.zeros(16, 24)
    place[:8, 12:] = 1
    net[2].weight.data = torch.stack([place.flatten(), -place.flatten(), torch.zeros(16 * 24)])
    seen = nn.Sequential(Looking(place), net)
    heat = grad_cam(seen, torch.ones(2, 1, 16, 24), "0", torch.tensor([0, 1]))
    assert torch.equal(heat[0, 0] > 0, place > 0)
    assert not heat[1].any()  # the place speaks against class 1


class Looking(nn.Module):
    def __init__(self, place):
        super().__init__()
        self.place = place

    def forward(self, image):
        return image * self.place


def test_heat_is_that_of_the_predicted_class_unless_another_is_asked(blob):
    net, both = Quadrants(), blob[:1] + 2 * blob[1:]
    predicted = grad_cam(net, both, "seen")
    assert torch.equal(predicted, grad_cam(net, both, "seen", torch.tensor([2])))
    assert not torch.allclose(grad_cam(InPlaceAfter(), both, "conv", torch.tensor([0])),
                              grad_cam(InPlaceAfter(), both, "conv", torch.tensor([1])))  # fmt: skip


def test_it_equals_the_closed_form_of_a_linear_head_before_an_in_place_layer():
    torch.manual_seed(1)
    net, image = InPlaceAfter().double(), torch.randn(3, 1, 9, 7, dtype=torch.float64)
    label = torch.tensor([2, 0, 1])
    with torch.no_grad():
        maps = net.conv(image)
        alive = (maps > 0).double().mean((2, 3))  # d(mean of ReLU)/d(maps), averaged
        weights = net.fc.weight[label] * alive
        expected = (weights[:, :, None, None] * maps).sum(1, keepdim=True).relu()
    assert torch.allclose(grad_cam(net, image, "conv", label), expected / (9 * 7), rtol=1e-10)


@pytest.mark.parametrize("layer", ["layer2", "layer4"])
def test_a_batch_equals_monai_image_by_image(network, layer):
    images = torch.randn(4, 1, 32, 48)
    heat = grad_cam(network, images, layer)
    monai = GradCAM(network, layer, postprocessing=lambda map_: map_)
    for image, found in zip(images, heat, strict=True):
        torch.testing.assert_close(found, monai(image[None])[0].detach(), rtol=1e-4, atol=1e-8)
    assert heat.amax() > 0


def test_the_network_is_untouched(network):
    network.train()
    network.layer4.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    network.fc.weight.requires_grad_(True)
    network.fc.weight.grad = torch.full_like(network.fc.weight, 2.0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        heat = grad_cam(network, images, "layer3")
    assert heat.amax() > 0
    assert not heat.requires_grad
    assert not images.requires_grad
    assert network.training
    assert not network.layer4.training
    assert (network.fc.weight.grad == 2).all()
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_tokens_and_channel_last_maps_are_laid_out_as_the_image():
    """A patch embedding as convolution, tokens, or channel-last maps: the same heat."""
    torch.manual_seed(2)
    image, label = torch.randn(2, 1, 16, 24), torch.tensor([1, 2])
    maps = Embedding("channel_first")
    expected = grad_cam(maps, image, "laid", label)
    assert expected.std() > 0
    for layout, tap in (
        ("channel_last", Tap("laid", layout="channel_last")),
        ("tokens", Tap("laid", prefix_tokens=1)),
    ):
        other = Embedding(layout)
        other.load_state_dict(maps.state_dict())
        torch.testing.assert_close(grad_cam(other, image, tap, label), expected)


class Embedding(nn.Module):
    """4 x 6 patches; two linear layers on every patch, then the mean."""

    def __init__(self, layout):
        super().__init__()
        self.layout = layout
        self.patches, self.laid = nn.Conv2d(1, 5, 4, 4), nn.Identity()
        self.mix, self.fc = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, image):
        maps = self.patches(image)
        if self.layout == "channel_first":
            features = self.laid(maps).flatten(2).transpose(1, 2)
        elif self.layout == "channel_last":
            features = self.laid(maps.movedim(1, -1)).flatten(1, 2)
        else:
            tokens = maps.flatten(2).transpose(1, 2)
            tokens = torch.cat([torch.zeros_like(tokens[:, :1]), tokens], dim=1)
            features = self.laid(tokens)[:, 1:]
        return self.fc(self.mix(features).tanh().mean(1))


def test_swin_and_vit_of_monai_give_heat():
    torch.manual_seed(3)
    swin = PooledClassifier(
        SwinTransformer(1, 12, (4, 4), (4, 4), (1, 1, 1, 1), (1, 2, 4, 8), spatial_dims=2),
        num_features=192,
        num_classes=3,
    )
    vit = FirstOutput(ViT(1, 32, 8, 24, 48, 2, 2, classification=True, num_classes=3, spatial_dims=2,
                          post_activation=None))  # fmt: skip
    image = torch.randn(2, 1, 32, 32)
    for net, tap in ((swin, "backbone.layers2.0"), (vit, Tap("network.blocks.0", prefix_tokens=1))):
        heat = grad_cam(net, image, tap)
        assert heat.shape == image.shape
        assert (heat.flatten(1).amax(1) > 0).all()
    # the head of the ViT reads the class token, so the patches after the last block say nothing
    assert not grad_cam(vit, image, Tap("network.blocks.1", prefix_tokens=1)).any()


def test_layers_without_heat_are_refused_by_name(network):
    image = torch.randn(1, 1, 32, 32)
    with pytest.raises(ValueError, match=r"no module 'layer9'; near names: layer"):
        grad_cam(network, image, "layer9")
    with pytest.raises(ValueError, match=r"reads one layer, 'layer\[34\]' fits layer3, layer4"):
        grad_cam(network, image, "layer[34]")
    with pytest.raises(ValueError, match=r"`fc:input` is an input"):
        grad_cam(network, image, "fc:input")
    with pytest.raises(ValueError, match=r"`fc` gives features \(1, 3\), Grad-CAM wants maps"):
        grad_cam(network, image, "fc")
    unused = Quadrants()
    unused.extra = nn.Identity()
    with pytest.raises(RuntimeError, match="`extra` ran 0 times"):
        grad_cam(unused, image, "extra")
    blind = nn.Sequential(nn.Conv2d(1, 2, 1), Deaf())
    with pytest.raises(ValueError, match="do not depend on `0`"):
        grad_cam(blind, image, "0")


class Deaf(nn.Module):
    def forward(self, maps):
        return torch.zeros(len(maps), 3, requires_grad=True)


# shares and hits


def test_flat_heat_is_at_chance_in_every_measure(blob):
    flat = torch.full_like(blob, 0.3)
    assert torch.allclose(energy_over_chance(flat, blob), torch.ones(2, dtype=torch.float64))
    assert torch.allclose(energy_in_mask(flat, blob), area_share(blob))
    for tolerance in (0.0, 2.5):
        assert torch.allclose(pointing_game(flat, blob, tolerance), pointing_chance(blob, tolerance))


def test_energy_is_the_share_of_the_heat(blob):
    heat = torch.rand(2, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    array, inside = heat.double().numpy(), blob.numpy() > 0
    expected = [h[m].sum() / h.sum() for h, m in zip(array, inside, strict=True)]
    np.testing.assert_allclose(energy_in_mask(heat, blob), expected)
    np.testing.assert_allclose(energy_over_chance(heat, blob), np.array(expected) / inside.mean((1, 2, 3)))
    assert torch.allclose(energy_in_mask(7 * heat, blob > 0), energy_in_mask(heat, blob))


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 1.5, 3.0, 5.2])
def test_pointing_game_forgives_a_distance(blob, tolerance):
    generator = torch.Generator().manual_seed(1)
    for _ in range(30):
        heat = torch.rand(2, 1, 16, 24, generator=generator)
        expected = [
            reference_pointing(h[0], m[0], tolerance) for h, m in zip(heat.numpy(), blob.numpy() > 0, strict=True)
        ]
        assert pointing_game(heat, blob, tolerance).tolist() == expected
    near = [(distance_transform_edt(m[0] == 0) <= tolerance).mean() for m in blob.numpy()]
    np.testing.assert_allclose(pointing_chance(blob, tolerance), near)


def test_without_heat_or_tumour_there_is_no_number(blob):
    assert energy_in_mask(torch.zeros_like(blob), blob).isnan().all()
    assert pointing_game(torch.zeros_like(blob), blob).isnan().all()
    empty = torch.zeros_like(blob)
    assert energy_over_chance(blob, empty).isnan().all()
    assert energy_in_mask(blob, empty).tolist() == [0, 0]


def test_wrong_heat_is_refused(blob):
    with pytest.raises(ValueError, match=r"heat is \(2, 16, 24\) and mask \(2, 1, 16, 24\)"):
        energy_in_mask(blob[:, 0], blob)
    with pytest.raises(ValueError, match="heat is negative in places"):
        pointing_game(-blob, blob)
    with pytest.raises(ValueError, match="tolerance is -1 pixels"):
        pointing_game(blob, blob, -1)
