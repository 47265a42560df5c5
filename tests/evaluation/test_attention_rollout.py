"""Attention rollout. Reference: the product of matrices as the paper writes it, of the attention that MONAI keeps."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.networks.blocks.selfattention import SABlock
from monai.networks.nets import ViT, resnet10
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import nn

from kdmri_monai.evaluation.attention_rollout import attends_globally, attention_rollout, rollout
from kdmri_monai.networks.adapters import FirstOutput, PooledClassifier


def reference_rollout(matrices):
    """Abnar and Zuidema, section 3; attention ``(B, heads, L, L)`` of every block to matrices ``(B, L, L)``."""
    product = None
    for matrix in matrices:
        mixed = 0.5 * matrix.astype(np.float64).mean(axis=1) + 0.5 * np.eye(matrix.shape[-1])
        mixed = mixed / mixed.sum(axis=-1, keepdims=True)
        product = mixed if product is None else mixed @ product
    return product


def vit(save_attn=False, classification=True, seed=0):
    torch.manual_seed(seed)
    net = ViT(1, (24, 40), 8, 24, 48, 3, 2, classification=classification, num_classes=3, spatial_dims=2,
              post_activation=None, save_attn=save_attn)  # fmt: skip
    with torch.no_grad():
        for block in net.blocks:
            block.attn.qkv.weight.mul_(6)  # attention that is far from even
    return net


class MeanOfTokens(nn.Module):
    """A ViT without class token, whose head reads the mean of the patches."""

    def __init__(self, network):
        super().__init__()
        self.network, self.head = network, nn.Linear(24, 3)

    def forward(self, image):
        return self.head(self.network(image)[0].mean(1))


@pytest.mark.parametrize("class_token", [True, False])
def test_it_is_the_papers_product_of_matrices(class_token):
    images = torch.randn(2, 1, 24, 40)
    keeping = vit(save_attn=True, classification=class_token)
    with torch.no_grad():
        keeping.eval()(images)
    whole = reference_rollout([block.attn.att_mat.numpy() for block in keeping.blocks])
    row = whole[:, 0, 1:] if class_token else whole.mean(axis=1)
    grid = torch.from_numpy(row.reshape(2, 1, 3, 5))
    expected = F.interpolate(grid, size=(24, 40), mode="bilinear", align_corners=False)
    adapter = FirstOutput if class_token else MeanOfTokens
    found = attention_rollout(adapter(vit(classification=class_token)), images)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-7)
    assert expected.std() > 0.1 * expected.mean()
    assert found.min() >= 0


def test_one_block_in_closed_form():
    attention = torch.tensor([[[0.2, 0.8, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]])
    assert rollout([attention], class_token=True).tolist() == [pytest.approx([0.6, 0.4, 0.0])]
    assert rollout([attention], class_token=False).tolist() == [pytest.approx([1.1 / 3, 0.9 / 3, 1 / 3])]
    # two blocks: what the first token reads in the last block is what stood there after the first
    later = torch.tensor([[[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    assert rollout([attention, later], class_token=True).tolist() == [pytest.approx([0.3, 0.45, 0.25])]


class AttendsToBright(nn.Module):
    """Every one of 4 x 6 patches attends to the bright ones."""

    def __init__(self, flash=False):
        super().__init__()
        self.attn = SABlock(4, 1, use_flash_attention=flash)
        weight = torch.zeros(12, 4)
        weight[0, 1], weight[4, 0] = 40.0, 1.0  # query: the constant; key: the brightness
        self.attn.qkv.weight = nn.Parameter(weight)

    def forward(self, image):
        bright = F.avg_pool2d(image, 4).flatten(1)
        tokens = torch.stack([bright, torch.ones_like(bright), 0 * bright, 0 * bright], dim=2)
        return self.attn(tokens).mean(1)[:, :3]


@pytest.mark.parametrize("flash", [False, True])
def test_an_asymmetric_blob_is_hot_where_it_is(flash):
    image = torch.zeros(2, 1, 16, 24)
    image[0, 0, 0:4, 16:24] = 1  # wider than high, upper right
    image[1, 0, 12:16, 0:8] = 1
    heat = attention_rollout(AttendsToBright(flash), image)
    assert heat.shape == image.shape
    assert (heat * image).sum((1, 2, 3)).gt(0.35 * heat.sum((1, 2, 3))).all()  # half is the residual, spread evenly
    for one, place in zip(heat, image, strict=True):
        assert place.flatten()[one.argmax()] == 1


def test_the_network_is_untouched():
    flash, net = AttendsToBright(flash=True).train(), FirstOutput(vit()).train()
    stale = net.network.blocks[1].attn.att_mat = torch.ones(3)
    net.network.blocks[0].attn.save_attn = True
    attention_rollout(flash, torch.rand(1, 1, 16, 24))
    attention_rollout(net, torch.randn(1, 1, 24, 40))
    assert flash.attn.use_flash_attention
    assert [block.attn.save_attn for block in net.network.blocks] == [True, False, False]
    assert net.network.blocks[1].attn.att_mat is stale
    assert net.network.blocks[2].attn.att_mat.numel() == 0
    assert net.training
    assert not any(module._forward_hooks for network in (net, flash) for module in network.modules())


def test_it_is_restored_after_an_error_too(monkeypatch):
    net = FirstOutput(vit())
    monkeypatch.setattr(net.network.norm, "forward", refuse)
    with pytest.raises(ValueError, match="Input size"):
        attention_rollout(net, torch.randn(1, 1, 24, 40))
    assert not any(block.attn.save_attn or block.attn._forward_hooks for block in net.network.blocks)


def refuse(_tokens):
    raise ValueError("Input size")


def test_networks_without_global_attention_are_refused_with_what_to_use():
    swin = PooledClassifier(
        SwinTransformer(1, 12, (4, 4), (4, 4), (1, 1, 1, 1), (1, 2, 4, 8), spatial_dims=2), 192, num_classes=3
    )
    image = torch.randn(1, 1, 32, 32)
    with pytest.raises(ValueError, match=r"PooledClassifier attends within windows.*use grad_cam"):
        attention_rollout(swin, image)
    with pytest.raises(ValueError, match=r"ResNet has no self-attention \(SABlock of MONAI\).*use grad_cam"):
        attention_rollout(resnet10(spatial_dims=2, n_input_channels=1, num_classes=3, widen_factor=0.125), image)
    assert not attends_globally(swin)
    assert attends_globally(FirstOutput(vit()))


class Pools(nn.Module):
    """Attention over other tokens in the second block, or twice over the same block."""

    def __init__(self, again=False):
        super().__init__()
        self.first = SABlock(4, 1)
        self.second = self.first if again else SABlock(4, 1)
        self.step = 1 if again else 4

    def forward(self, image):
        tokens = F.avg_pool2d(image, 4).flatten(2).transpose(1, 2).expand(-1, -1, 4)
        return self.second(self.first(tokens)[:, :: self.step]).mean(1)


def test_tokens_that_cannot_be_followed_are_refused():
    image = torch.rand(1, 1, 16, 16)
    with pytest.raises(ValueError, match=r"blocks attend to \[4, 16\] tokens"):
        attention_rollout(Pools(), image)
    with pytest.raises(RuntimeError, match="ran twice in one forward pass"):
        attention_rollout(Pools(again=True), image)
    odd = AttendsToBright()
    with pytest.raises(ValueError, match=r"20 tokens, less 0 to 8 before them, fill no grid of an image 5 x 320"):
        attention_rollout(Flat(odd.attn), torch.rand(1, 1, 5, 320))


class Flat(nn.Module):
    def __init__(self, attn):
        super().__init__()
        self.attn = attn

    def forward(self, image):
        return self.attn(image.reshape(len(image), 20, -1)[:, :, :4]).mean(1)
