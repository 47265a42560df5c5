"""Which ways there are to see where a network looks, and what a network that is given masks gets."""

import pytest
import torch
from monai.networks.nets import ViT
from torch import nn

from kdmri_monai.evaluation.heat_methods import heat_methods, privileged
from kdmri_monai.evaluation.slice_batches import SliceBatch
from kdmri_monai.networks import FirstOutput


class GivenMasks(nn.Module):
    """Its logits are the mean of the image beyond the tumour, and the tumour's area; a layer reads the mask alone."""

    privileged_keys = ("mask", "has_mask")

    def __init__(self):
        super().__init__()
        self.seen, self.blind, self.fc = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1), nn.Linear(4, 3)

    def forward(self, image, mask=None, has_mask=None):
        mask = torch.zeros_like(image) if mask is None else mask * has_mask[:, None, None, None]
        beyond, area = self.seen(image * (1 - mask)), self.blind(mask)
        return self.fc(torch.cat([beyond.mean((2, 3)), area.mean((2, 3))], dim=1))


@pytest.fixture
def batch():
    mask = torch.zeros(2, 1, 8, 12)
    mask[:, :, 1:4, 2:9] = 1
    names = ("a", "b")
    image = torch.rand(2, 1, 8, 12, generator=torch.Generator().manual_seed(0))
    return SliceBatch(image, mask, torch.tensor([True, False]), torch.tensor([0, 1]), names, names, names)


def test_masks_come_from_the_batch_while_it_lasts(batch):
    net = GivenMasks()
    alone, given = net(batch.image), net(batch.image, mask=batch.mask, has_mask=batch.has_mask)
    assert not torch.equal(alone, given)
    with privileged(net, batch):
        assert torch.equal(net(batch.image), given)
        assert torch.equal(net(batch.image, mask=0 * batch.mask), alone)  # what is given by name comes first
    assert torch.equal(net(batch.image), alone)
    with pytest.raises(RuntimeError, match="stop"), privileged(net, batch):
        raise RuntimeError("stop")
    assert not net._forward_pre_hooks


def test_heat_of_a_network_that_is_given_masks_is_computed_with_them(batch):
    """The mask is cut out of the image before the layer, so that inside it the heat is that of the bias alone."""
    net = GivenMasks()
    for parameter in net.parameters():
        nn.init.ones_(parameter)  # so that everything speaks for every class
    ((method,), reason) = heat_methods(net, (1, 8, 12), "seen")
    assert reason == ""
    found = method.heat(net, batch, torch.tensor([2, 2]))
    inside = found[:, 0, 1:4, 2:9].flatten(1)
    assert inside[0].std() < 1e-6 * inside[0].mean()
    assert inside[0].min() > 0
    assert inside[1].std() > 0.1 * inside[1].mean()  # has no mask


def test_layers_that_say_nothing_of_the_image_are_refused(batch):
    with pytest.raises(ValueError, match="`blind` does not depend on the image"):
        heat_methods(GivenMasks(), (1, 8, 12), "blind")
    with pytest.raises(ValueError, match="no module 'layer9'"):
        heat_methods(GivenMasks(), (1, 8, 12), "layer9")
    methods, _ = heat_methods(GivenMasks(), (1, 8, 12))
    assert [method.layer for method in methods] == ["seen"]


def test_without_a_layer_for_grad_cam_attention_is_still_followed():
    vit = FirstOutput(ViT(1, 32, 8, 24, 48, 2, 2, classification=True, num_classes=3, spatial_dims=2))
    methods, reason = heat_methods(vit, (1, 32, 32))  # 4 x 4 patches are too few for a default layer
    assert [method.name for method in methods] == ["attention_rollout"]
    assert reason.startswith("no layer of FirstOutput gives maps of at least 6 x 6")
    named, reason = heat_methods(vit, (1, 32, 32), {"module": "network.blocks.0", "prefix_tokens": 1})
    assert ([method.name for method in named], reason) == (["grad_cam", "attention_rollout"], "")
