"""Adapters: every network of the bundle gives logits (B, K)."""

import pytest
import torch
from monai.networks.nets import ViT
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import nn

from kdmri_monai.networks import FirstOutput, PooledClassifier


@pytest.mark.parametrize("size", [48, 50, 65])
def test_swin_classifier_takes_odd_sizes_and_trains_every_parameter(size):
    backbone = SwinTransformer(1, 12, (4, 4), (4, 4), (1, 1, 1, 1), (1, 2, 3, 6), spatial_dims=2, use_v2=True)
    network = PooledClassifier(backbone, num_features=192, num_classes=3)
    logits = network(torch.rand(2, 1, size, size))
    assert logits.shape == (2, 3)
    (logits * torch.randn(2, 3)).sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == []


def test_pooling_is_the_mean_over_the_last_map():
    class Backbone(nn.Module):
        def forward(self, image):
            return [image, image.expand(-1, 4, -1, -1) * torch.arange(1.0, 5.0).view(1, 4, 1, 1)]

    network = PooledClassifier(Backbone(), num_features=4, num_classes=2)
    image = torch.rand(3, 1, 5, 7)
    pooled = image.mean(dim=(2, 3)) * torch.arange(1.0, 5.0)
    torch.testing.assert_close(network(image), network.head(network.norm(pooled)))


def test_first_output_unwraps_vit_whose_logits_are_not_bounded():
    vit = ViT(1, 32, 8, 24, 48, 2, 3, classification=True, num_classes=3, spatial_dims=2, post_activation=None)
    network = FirstOutput(vit)
    image = torch.rand(2, 1, 32, 32)
    assert torch.equal(network(image), vit(image)[0])
    nn.init.constant_(vit.classification_head.bias, 5.0)
    assert network(image).max() > 1.0
