"""The layer that Grad-CAM reads by default, on networks as they are shipped and on some built to mislead."""

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import ViT, resnet10
from torch import nn

from kdmri_monai.evaluation.cam_layer import default_cam_layer, depends_on_image
from kdmri_monai.evaluation.localisation import grad_cam
from kdmri_monai.networks import FirstOutput, GeometryClassifier, GeometryTeacher
from kdmri_monai.networks.tap_spec import Tap

CONFIGS = Path(__file__).parents[2] / "bundles" / "kd" / "configs"


def student(seed=0):
    torch.manual_seed(seed)
    return resnet10(spatial_dims=2, n_input_channels=1, num_classes=3, widen_factor=0.125, conv1_t_stride=2)


def shipped(name):
    config = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "train.json")]))
    torch.manual_seed(0)
    return config.get_parsed_content(name)


def teacher_with_masks():
    taps = ["layer1", "layer2", "layer3"]
    geometry = {"from_mask": ["distance"], "from_image": []}
    return GeometryTeacher(student(), taps, 3, (1, 96, 96), geometry, width=8, geometry_width=4)


@pytest.mark.parametrize(("size", "layer"), [(96, "layer3"), (128, "layer3"), (192, "layer4")])
def test_a_resnet_is_read_at_its_last_stage_with_six_positions(size, layer):
    net = student().train()
    assert default_cam_layer(net, (1, size, size)) == Tap(layer, "channel_first")
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_shipped_teacher_is_read_at_the_last_block_before_its_maps_are_merged():
    teacher = shipped("teacher_def").eval()
    tap = default_cam_layer(teacher, (1, 128, 128))
    assert tap == Tap("backbone.layers3.0.blocks.1", "channel_last")  # 8 x 8; the stage itself gives 4 x 4
    images = torch.rand(2, 1, 128, 128)
    heat = grad_cam(teacher, images, tap)
    assert heat.shape == images.shape
    assert (heat.flatten(1).amax(1) > 0).all()
    assert (heat.flatten(1).std(1) > 0).all()


def test_the_shipped_vit_is_read_before_its_last_block():
    files = [str(CONFIGS / "train.json"), str(CONFIGS / "cnn_to_vit.json")]
    config = ConfigParser(ConfigParser.load_config_files(files))
    size = config.get_parsed_content("image_size")
    net = config.get_parsed_content("student_def")
    named = config.get_parsed_content("cam_layer")
    tap = default_cam_layer(net, (1, size, size))
    assert (tap.module, tap.prefix_tokens) == (named["module"], named["prefix_tokens"])
    assert (grad_cam(net, torch.rand(2, 1, size, size), tap).flatten(1).amax(1) > 0).all()


class MeanOfTokens(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network, self.head = network, nn.Linear(24, 3)

    def forward(self, image):
        return self.head(self.network(image)[0].mean(1))


def test_a_vit_whose_head_reads_all_patches_is_read_after_its_last_block():
    def vit(classification):
        return ViT(1, 48, 8, 24, 48, 3, 2, classification=classification, num_classes=3, spatial_dims=2)

    assert default_cam_layer(MeanOfTokens(vit(False)), (1, 48, 48)) == Tap("network.blocks.2", "tokens")
    assert default_cam_layer(FirstOutput(vit(True)), (1, 48, 48)) == Tap("network.blocks.1", "tokens", 1)


def test_heads_behind_the_backbone_are_not_what_is_read():
    torch.manual_seed(0)
    net = GeometryClassifier(student(), ["layer1", "layer2", "layer3", "layer4"], 3, (1, 96, 96))
    assert default_cam_layer(net, (1, 96, 96)).module == "backbone.layer3"
    assert default_cam_layer(teacher_with_masks(), (1, 96, 96)).module == "backbone.layer3"


def test_what_comes_from_the_mask_alone_is_told_from_what_comes_from_the_image():
    net = teacher_with_masks()
    assert depends_on_image(net, "backbone.layer1", (1, 96, 96))
    assert depends_on_image(net, "fusion.project.0", (1, 96, 96))
    assert not depends_on_image(net, "encoder.blocks.0", (1, 96, 96))
    with pytest.raises(ValueError, match="no module 'layer9'"):
        depends_on_image(net, "layer9", (1, 96, 96))


class Misleading(nn.Module):
    """Later maps that the logits do not read, and earlier ones that the image does not reach."""

    def __init__(self, reads_image=True):
        super().__init__()
        self.constant, self.early, self.read = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 3)
        self.unread, self.tiny, self.fc = nn.Conv2d(2, 2, 1), nn.AdaptiveAvgPool2d(3), nn.Linear(18, 3)
        self.reads_image = reads_image

    def forward(self, image):
        given = image if self.reads_image else torch.ones_like(image)
        maps = self.read(self.early(given).relu()) + self.constant(torch.ones_like(image))[:, :, 1:-1, 1:-1]
        self.unread(maps)
        return self.fc(self.tiny(maps).flatten(1))


def test_layers_beside_the_way_from_image_to_logits_are_passed_over():
    assert default_cam_layer(Misleading(), (1, 16, 24)) == Tap("read", "channel_first")
    with pytest.raises(
        ValueError, match="no layer of Misleading gives maps of at least 6 x 6 positions for images 1 x"
    ):
        default_cam_layer(Misleading(reads_image=False), (1, 16, 24))


def test_frozen_networks_are_read_as_others():
    net = student().requires_grad_(False)
    assert default_cam_layer(net, (1, 96, 96)).module == "layer3"


def test_a_network_without_maps_is_refused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(ValueError, match=r"no layer of Sequential gives maps .* name one"):
        default_cam_layer(net, (1, 8, 8))
