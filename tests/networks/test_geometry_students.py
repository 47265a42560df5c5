"""The geometry head: behind any tapped network, small, exportable, fed by the image alone."""

import copy
import inspect

import pytest
import torch
from monai.networks.nets import ViT, resnet10
from monai.networks.nets.swin_unetr import SwinTransformer

from kdmri_monai.networks import FirstOutput, GeometryClassifier, GeometryHead, PooledClassifier
from kdmri_monai.networks.geometry_head import MAP_CHANNELS, RINGS, predicted_geometry, region_means

SIZE = 64


def resnet(widen=0.375, dims=2):
    return resnet10(spatial_dims=dims, n_input_channels=1, num_classes=3, conv1_t_stride=2, widen_factor=widen)


def swin():
    backbone = SwinTransformer(1, 12, (4, 4), (4, 4), (1, 1, 1, 1), (1, 2, 3, 6), spatial_dims=2)
    return PooledClassifier(backbone, num_features=192, num_classes=3)


def vit():
    network = ViT(1, SIZE, 8, 24, 48, 4, 3, classification=True, num_classes=3, spatial_dims=2, post_activation=None)
    return FirstOutput(network)


STUDENTS = {
    "cnn": (resnet, ["layer1", "layer2", "layer3", "layer4"]),
    "swin": (swin, ["backbone.patch_embed", "backbone.layers1.0", "backbone.layers2.0"]),
    "vit": (vit, [{"module": f"network.blocks.{i}", "prefix_tokens": 1} for i in (1, 3)]),
}


def student(kind="cnn", **arguments):
    torch.manual_seed(0)
    make, taps = STUDENTS[kind]
    return GeometryClassifier(make(), taps, 3, (1, SIZE, SIZE), **arguments)


@pytest.mark.parametrize("kind", STUDENTS)
def test_it_works_behind_any_tapped_network(kind):
    network = student(kind)
    image = torch.rand(2, 1, SIZE, SIZE)
    logits = network(image)
    assert logits.shape == (2, 3)
    network.eval()
    geometry = network.predict_geometry(image)
    assert geometry.mask.shape[:2] == geometry.distance.shape[:2] == (2, 1)
    assert geometry.rings.shape[:2] == (2, len(RINGS))
    torch.testing.assert_close(geometry.rings.sum(1), torch.ones_like(geometry.rings[:, 0]))
    assert 0 <= geometry.mask.min() <= geometry.mask.max() <= 1


@pytest.mark.parametrize("kind", STUDENTS)
def test_every_parameter_of_the_head_learns_from_the_class_alone(kind):
    network = student(kind)
    torch.nn.functional.cross_entropy(network(torch.rand(4, 1, SIZE, SIZE)), torch.tensor([0, 1, 2, 0])).backward()
    without = [name for name, p in network.head.named_parameters() if p.grad is None]
    # the distance channel is a target only; it shares its layer with mask and rings
    assert not without
    assert network.head.maps[-1].weight.grad[0].abs().sum() > 0


def test_the_head_adds_less_than_five_per_cent_to_a_student_of_seven_hundred_thousand():
    whole, bare = student(), resnet()
    count = lambda network: sum(p.numel() for p in network.parameters())  # noqa: E731
    assert 650_000 < count(bare) < 750_000
    assert count(whole) - count(bare) < 0.05 * count(bare)


def test_logits_are_those_of_the_backbone_plus_those_of_the_head():
    network = student().eval()
    image = torch.rand(2, 1, SIZE, SIZE)
    with network.taps.collect() as features:
        own = network.backbone(image)
    torch.testing.assert_close(network(image), own + network.head(features))


def test_switched_off_it_is_the_backbone():
    network, image = student(head=False).eval(), torch.rand(2, 1, SIZE, SIZE)
    assert torch.equal(network(image), network.backbone(image))
    with pytest.raises(ValueError, match="no geometry head"):
        network.predict_geometry(image)


def test_the_student_takes_the_image_alone():
    assert list(inspect.signature(GeometryClassifier.forward).parameters) == ["self", "image"]
    assert list(inspect.signature(GeometryHead.forward).parameters) == ["self", "features"]


def test_evidence_comes_from_inside_the_predicted_tumour():
    """Moving features outside of all predicted regions but the rest changes only what is pooled there."""
    maps = torch.zeros(1, 2, 4, 4)
    maps[:, :, 1, 2] = torch.tensor([3.0, -1.0])
    regions = torch.zeros(1, 2, 4, 4)
    regions[:, 0, 1, 2], regions[:, 1, 3, 0] = 1.0, 1.0
    means = region_means(maps, regions, eps=0.0)
    torch.testing.assert_close(means[0], torch.tensor([[3.0, -1.0], [0.0, 0.0]]))
    empty = region_means(maps, torch.zeros_like(regions))
    assert torch.equal(empty, torch.zeros_like(empty))


def test_without_global_pooling_the_head_still_classifies():
    assert student(head={"global_pooling": False})(torch.rand(2, 1, SIZE, SIZE)).shape == (2, 3)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # sizes are compared; they are constants of a student
def test_copy_export_and_trace_give_the_same_logits():
    network, image = student().eval(), torch.rand(2, 1, SIZE, SIZE)
    expected = network(image)
    copied = copy.deepcopy(network)
    for parameter in network.parameters():
        parameter.data.zero_()
    torch.testing.assert_close(copied(image), expected)  # and it reads its own features, not those of the original
    network.load_state_dict(copied.state_dict())
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, (image,), dynamic_shapes={"image": {0: batch}})
    more = torch.rand(5, 1, SIZE, SIZE)
    torch.testing.assert_close(program.module()(more), network(more), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.jit.trace(network, image)(more), network(more), rtol=1e-5, atol=1e-5)


def test_volumes():
    network = GeometryClassifier(resnet(0.125, dims=3), ["layer1", "layer2"], 3, (1, 32, 32, 32))
    assert network(torch.rand(2, 1, 32, 32, 32)).shape == (2, 3)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="gives 3 logits where num_classes is 4"):
        GeometryClassifier(resnet(), ["layer1"], 4, (1, SIZE, SIZE))
    with pytest.raises(ValueError, match="no module"):
        GeometryClassifier(resnet(), ["layer7"], 3, (1, SIZE, SIZE))
    with pytest.raises(ValueError, match="without a head nothing classifies"):
        GeometryClassifier(torch.nn.Conv2d(1, 4, 3), [], 3, (1, SIZE, SIZE), head=False)
    with pytest.raises(ValueError, match=f"geometric maps have {MAP_CHANNELS} channels"):
        predicted_geometry(torch.zeros(1, 3, 4, 4))
