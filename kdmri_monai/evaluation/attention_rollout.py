"""Where a vision transformer looks: attention rollout, the attention of all blocks followed down to the patches.

Source: Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020, section 3: every block passes on
``A_bar = 0.5 A + 0.5 I``, half of it by its attention ``A`` (mean over heads, rows sum to 1) and half by the residual
connection; the rollout is the product ``A_bar_L ... A_bar_1``, whose row of a token says what it was mixed from.
Differs: the row is carried backwards through the blocks, so that no product of matrices is made.

Limit: the rollout knows neither values nor MLPs nor the class: it shows where attention went, not what spoke for the
answer. Read it beside Grad-CAM, and beside its own randomised control.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.blocks.selfattention import SABlock
from monai.networks.nets.swin_unetr import WindowAttention
from torch import Tensor, nn

from kdmri_monai.networks.dry_run import evaluating
from kdmri_monai.networks.tap_layouts import MAX_PREFIX_TOKENS, prefix_that_fits, token_grid
from kdmri_monai.networks.tap_modules import watchable


def attends_globally(network: nn.Module) -> bool:
    """Whether a network has blocks of self-attention over all its tokens, and none over windows."""
    return _has(network, SABlock) and not _has(network, WindowAttention)


def attention_rollout(network: nn.Module, images: Tensor) -> Tensor:
    """Share of every place of the image in the token that the answer is read from, in the size of the images.

    Args:
        network: Has MONAI's ``SABlock`` in every block, as ``ViT`` has; adapters around it do not matter, nor whether
            it keeps its attention or uses flash attention. It runs in eval mode and is afterwards as it was.
        images: Shape ``(B, C, H, W)``.

    Returns:
        Heat, not negative, shape ``(B, 1, H, W)``, float32 or better, without gradient: the class token's row where
        tokens stand before the patches, else the mean over the rows of all patches. The shares of the patches, and with
        a class token its own, sum to 1 before they are enlarged to the image bilinearly.

    Raises:
        ValueError: No global self-attention, blocks of different numbers of tokens, tokens that fill no grid.
        RuntimeError: A block ran twice, or none ran.
    """
    inner = watchable(network)
    _refuse_without_global_attention(inner)
    with _attention(inner) as matrices, evaluating(network), torch.no_grad():
        network(images)
    if not matrices:
        raise RuntimeError(f"no self-attention of {type(inner).__name__} ran in this forward pass")
    sizes = {len(matrix[0]) for matrix in matrices}
    if len(sizes) > 1:
        raise ValueError(f"blocks attend to {sorted(sizes)} tokens; a rollout needs the same tokens in all of them")
    (tokens,), spatial = sizes, images.shape[2:]
    prefix = prefix_that_fits(tokens, spatial)
    grid = None if prefix is None else token_grid(tokens - prefix, spatial)
    if prefix is None or grid is None:
        size = " x ".join(map(str, spatial))
        raise ValueError(f"{tokens} tokens, less 0 to {MAX_PREFIX_TOKENS} before them, fill no grid of an image {size}")
    shares = rollout(matrices, class_token=prefix > 0)[:, prefix:].unflatten(1, (1, *grid))
    return F.interpolate(shares, size=tuple(spatial), mode="bilinear", align_corners=False)


def rollout(matrices: list[Tensor], class_token: bool) -> Tensor:
    """Row of the rollout, shape ``(B, L)``.

    Args:
        matrices: Attention of every block, the first one first, mean over heads, shape ``(B, L, L)``.
        class_token: Whether the row of the first token is wanted; else the mean over all rows.
    """
    row = torch.zeros_like(matrices[0][:, :1])
    row[:, 0, 0] = 1
    if not class_token:
        row = torch.full_like(row, 1 / row.shape[2])
    for matrix in reversed(matrices):
        stochastic = matrix / matrix.sum(dim=2, keepdim=True)  # half precision rounds the sums of softmax
        row = 0.5 * row @ stochastic + 0.5 * row
    return row[:, 0]


def _has(network: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) for module in network.modules())


def _refuse_without_global_attention(network: nn.Module) -> None:
    name = type(network).__name__
    if _has(network, WindowAttention):
        raise ValueError(
            f"{name} attends within windows, between which attention cannot be rolled out; use grad_cam instead"
        )
    if not attends_globally(network):
        raise ValueError(f"{name} has no self-attention (SABlock of MONAI) to roll out; use grad_cam instead")


@contextmanager
def _attention(network: nn.Module) -> Iterator[list[Tensor]]:
    """Attention of every block that runs inside the ``with`` block, mean over heads, shape ``(B, L, L)``."""
    matrices: list[Tensor] = []
    blocks = [module for module in network.modules() if isinstance(module, SABlock)]
    before = [(block.save_attn, block.use_flash_attention, block.att_mat) for block in blocks]
    ran: set[int] = set()

    def keep(block: nn.Module, _inputs: Any, _output: Any) -> None:
        assert isinstance(block, SABlock)
        if id(block) in ran:
            raise RuntimeError("a block of self-attention ran twice in one forward pass, so its attention is not one")
        ran.add(id(block))
        attention = block.att_mat if block.att_mat.dtype == torch.float64 else block.att_mat.float()
        matrices.append(attention.mean(dim=1))

    handles = [block.register_forward_hook(keep) for block in blocks]
    try:
        for block in blocks:
            block.save_attn, block.use_flash_attention = True, False  # flash attention makes no matrix
        yield matrices
    finally:
        for handle in handles:
            handle.remove()
        for block, (saves, flash, kept) in zip(blocks, before, strict=True):
            block.save_attn, block.use_flash_attention, block.att_mat = saves, flash, kept
