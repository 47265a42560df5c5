"""Self-attention over the tokens of all scales together."""

from collections.abc import Sequence

import torch
from monai.networks.blocks import MLPBlock, SABlock
from torch import Tensor, nn

from kdmri_monai.networks.fusion.positions import angular_frequencies, sine_cosine_code
from kdmri_monai.networks.fusion.scales import LayerName, check_maps, check_scales, conv_norm, resample
from kdmri_monai.networks.resampling import area_pool


class CrossAttentionFusion(nn.Module):
    """Every region of every scale attends to all regions of all scales; the answer is added to the maps.

    Each scale is projected to ``width``, area-pooled to at most ``tokens`` pixels a side, and given a sine-cosine code
    of its place in the image and a learned code of its scale. Pre-norm transformer layers run over all tokens
    together. What they give is enlarged by (bi)linear interpolation, added to the projected map at full size, and
    projected to the channels wanted.

    Source: after the region-aware attention of Lin et al., "Perspective-Aware Teaching: Adapting Knowledge for
        Heterogeneous Distillation", ICCV 2025 (arXiv 2501.08885): attention over the regions of all stages of the
        student. The layers are those of Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, equations
        2 to 4.
    Differs: regions are area means, so that scales of any size and number of axes give few tokens; the maps keep their
        detail through the addition.

    Args:
        spatial_dims: 1, 2 or 3.
        in_channels: Channels of every scale, finest first.
        out_channels: Channels wanted of every scale, as many as ``in_channels``.
        width: Channels of a token; a multiple of ``num_heads``, at least twice ``spatial_dims``.
        tokens: Most regions along an axis; scales that are smaller stay as they are. Memory grows with the square of
            ``len(in_channels) * tokens ** spatial_dims``.
        num_heads: Heads of the attention.
        depth: Transformer layers.
        mlp_ratio: Hidden width of their perceptrons, in units of ``width``.
        kernel_size: Pixels along every axis of the output projection, odd.
        norm: Normalisation of the maps as ``monai.networks.layers.get_norm_layer`` takes it; tokens have LayerNorm.

    Raises:
        ValueError: ``spatial_dims`` is not 1, 2 or 3; no scales, or not as many ``out_channels`` as ``in_channels``;
            ``width`` that is no multiple of ``num_heads`` or below twice ``spatial_dims``; ``tokens``, ``num_heads``,
            or ``depth`` below 1; an even ``kernel_size``.
    """

    half_pixels: Tensor
    frequencies: Tensor

    def __init__(
        self,
        spatial_dims: int,
        in_channels: Sequence[int],
        out_channels: Sequence[int],
        width: int = 64,
        tokens: int = 7,
        num_heads: int = 4,
        depth: int = 1,
        mlp_ratio: float = 2.0,
        kernel_size: int = 3,
        norm: LayerName = "batch",
    ) -> None:
        super().__init__()
        check_scales(spatial_dims, in_channels, out_channels)
        _check_tokens(spatial_dims, width, tokens, num_heads, depth)
        self.tokens = tokens
        self.lateral = nn.ModuleList(conv_norm(spatial_dims, channels, width, norm=norm) for channels in in_channels)
        self.level = nn.Parameter(nn.init.trunc_normal_(torch.empty(len(in_channels), width), std=0.02))
        self.layers = nn.ModuleList(_PreNormLayer(width, num_heads, round(mlp_ratio * width)) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.project = nn.ModuleList(
            conv_norm(spatial_dims, width, channels, kernel_size, norm) for channels in out_channels
        )
        # Buffers, so that an exported program computes the code on the device to which it is moved.
        self.register_buffer("half_pixels", torch.arange(tokens) + 0.5, persistent=False)
        self.register_buffer("frequencies", angular_frequencies(width // (2 * spatial_dims), tokens), persistent=False)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Fused maps, ``(B, out_channels[l], *spatial_l)`` for maps ``(B, in_channels[l], *spatial_l)``.

        Raises:
            ValueError: Not as many maps as scales.
        """
        check_maps(features, len(self.lateral))
        maps = [lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True)]
        return [
            project(own + resample(context, own.shape[2:]).to(own.dtype))
            for project, own, context in zip(self.project, maps, self._context(maps), strict=True)
        ]

    def _context(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """What the regions learn of each other, as maps of ``width`` channels at the pooled sizes."""
        grids = [area_pool(own, [min(side, self.tokens) for side in own.shape[2:]]) for own in maps]
        sequence = torch.cat(
            [
                grid.flatten(2).transpose(1, 2) + self.position_code(grid.shape[2:]) + level
                for grid, level in zip(grids, self.level, strict=True)
            ],
            dim=1,
        )
        for layer in self.layers:
            sequence = layer(sequence)
        parts = self.norm(sequence).transpose(1, 2).split([grid.shape[2:].numel() for grid in grids], dim=2)
        return [part.unflatten(2, grid.shape[2:]) for part, grid in zip(parts, grids, strict=True)]

    def position_code(self, size: Sequence[int]) -> Tensor:
        """Code of the places of a grid, shape ``(prod size, width)``; no side may exceed ``tokens``."""
        centres = [self.half_pixels[:side] / side for side in size]
        return sine_cosine_code(centres, self.frequencies, self.level.shape[1])


class _PreNormLayer(nn.Module):
    """Transformer layer: ``x + attention(norm(x))``, then ``x + perceptron(norm(x))``.

    MONAI's ``TransformerBlock`` holds a norm of the cross-attention that it does not use; its parameters would get no
    gradient.
    """

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SABlock(width, num_heads, qkv_bias=True, use_flash_attention=True)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = MLPBlock(width, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.attention_norm(tokens))
        mixed: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return mixed


def _check_tokens(spatial_dims: int, width: int, tokens: int, num_heads: int, depth: int) -> None:
    for name, value in {"tokens": tokens, "num_heads": num_heads, "depth": depth}.items():
        if value < 1:
            raise ValueError(f"{name} is {value}, it must be at least 1")
    if width % num_heads:
        raise ValueError(f"width {width} is no multiple of num_heads {num_heads}")
    if width < 2 * spatial_dims:
        raise ValueError(f"width is {width}, the positions along {spatial_dims} axes need {2 * spatial_dims} or more")
