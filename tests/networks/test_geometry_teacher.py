"""The teacher that sees geometry: what it is given matters, and it says what it uses."""

import pytest
import torch
from monai.networks.nets import resnet10
from monai.networks.nets.swin_unetr import SwinTransformer

from kdmri_monai.networks import GeometryTeacher

SIZE = 64
MAPS = {"from_mask": ("distance", "rings"), "from_image": ()}


def teacher(geometry=MAPS, **arguments):
    torch.manual_seed(0)
    backbone = SwinTransformer(1, 12, (4, 4), (4, 4), (1, 1, 1, 1), (1, 2, 3, 6), spatial_dims=2)
    taps = ["patch_embed", "layers1.0", "layers2.0", "layers3.0", "layers4.0"]
    return GeometryTeacher(backbone, taps, 3, (1, SIZE, SIZE), geometry=geometry, width=16, **arguments)


def blobs(*radii):
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return torch.stack([((y - 30) ** 2 + (x - 40) ** 2 <= r**2).float()[None] for r in radii])


def test_the_mask_is_seen():
    network, image = teacher().eval(), torch.rand(2, 1, SIZE, SIZE)
    small, large = network(image, mask=blobs(5, 5)), network(image, mask=blobs(12, 12))
    assert small.shape == (2, 3)
    assert not torch.allclose(small, large)


def test_a_sample_without_mask_is_as_if_none_was_given():
    network, image = teacher().eval(), torch.rand(2, 1, SIZE, SIZE)
    partly = network(image, mask=blobs(5, 9), has_mask=torch.tensor([True, False]))
    torch.testing.assert_close(partly[1], network(image)[1])
    assert not torch.allclose(partly[0], network(image)[0])


def test_it_says_what_it_uses():
    assert teacher().privileged_keys == ("mask", "has_mask")
    assert teacher().uses == "image; from the tumour mask: distance, rings"
    assert teacher(None).uses == "image alone"
    assert teacher(None).privileged_keys == ()
    only_image = teacher({"from_mask": (), "from_image": ("coherence",)})
    assert only_image.privileged_keys == ()
    assert only_image.uses == "image; from the image: coherence"


def test_one_switch_gives_an_image_only_teacher():
    network, image = teacher(None).eval(), torch.rand(2, 1, SIZE, SIZE)
    assert torch.equal(network(image), network(image, mask=blobs(5, 9)))


@pytest.mark.parametrize("geometry", [MAPS, None])
def test_every_parameter_learns(geometry):
    network = teacher(geometry)
    network(torch.rand(2, 1, SIZE, SIZE), mask=blobs(5, 9)).sum().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


@pytest.mark.parametrize("fusion", ["cross_attention", "bifpn", "concat"])
def test_any_fusion_layer_and_any_backbone(fusion):
    backbone = resnet10(spatial_dims=2, n_input_channels=1, num_classes=3, conv1_t_stride=2, widen_factor=0.125)
    network = GeometryTeacher(backbone, ["layer*"], 3, (1, SIZE, SIZE), geometry=MAPS, fusion=fusion, width=16)
    assert network(torch.rand(2, 1, SIZE, SIZE), mask=blobs(5, 9)).shape == (2, 3)
