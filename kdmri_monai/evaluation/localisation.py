"""Where a network looks: Grad-CAM, and how much of it lies in the tumour, beside what chance would give.

Sources: Selvaraju et al., "Grad-CAM", ICCV 2017, equations 1 and 2; Zhang et al., "Top-down neural attention by
excitation backprop", ECCV 2016 (pointing game); Wang et al., "Score-CAM", CVPR Workshops 2020 (energy in the object,
there within a bounding box).
Differs: MONAI's ``GradCAM`` adds up, for every image, the classes predicted for all images of its batch, scales the
heat so that the largest becomes 0, and leaves its hooks behind; so this is not built on it. Image by image, without
the scaling, they are equal.

Limit: the gradient is averaged over the map, so Grad-CAM weighs features and not places. Where a network uses a feature
in one place alone, the heat is high in all places that show it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdmri_monai.networks.dry_run import evaluating
from kdmri_monai.networks.tap_layouts import as_features
from kdmri_monai.networks.tap_modules import find_modules, watchable
from kdmri_monai.networks.tap_spec import Tap, TapSpec, as_tap


def grad_cam(network: nn.Module, images: Tensor, layer: TapSpec, classes: Tensor | None = None) -> Tensor:
    """Heat of the layer's features for a class, in the size of the images.

    Args:
        network: Gives logits ``(B, K)``. It runs in eval mode, and every module's mode, the gradients of its parameters
            and its hooks are afterwards as they were.
        images: Shape ``(B, C, H, W)``.
        layer: A module whose output holds maps or tokens, as for ``FeatureTaps``: a name, or a ``Tap`` with the layout
            (``channel_last`` maps, ``prefix_tokens`` of a ViT). The last layer with maps is usual; after it, pooling
            must read them all: the patch tokens after the last block of a ViT whose head reads only the class token
            have no gradient, and their heat is zero.
        classes: Class that is asked about, shape ``(B,)``; the predicted one by default.

    Returns:
        Heat, not negative and not scaled, shape ``(B, 1, H, W)``, float32 or better, without gradient. All zero where
        nothing in the layer speaks for the class.

    Raises:
        ValueError: No such module or several, features that are no maps, a layer that the logits do not depend on.
        RuntimeError: The module did not run.
    """
    tap = as_tap(layer)
    if tap.at == "input":
        raise ValueError(f"`{tap.label}` is an input, Grad-CAM reads the output of a module")
    with evaluating(network), torch.enable_grad():
        logits, output = _run(network, images.detach().requires_grad_(), tap)
        asked = logits.argmax(dim=1) if classes is None else classes.to(logits.device)
        score = logits.gather(1, asked.reshape(-1, 1)).sum()
        slope = torch.autograd.grad(score, output, allow_unused=True)[0] if output.requires_grad else None
    if slope is None:
        raise ValueError(f"the logits do not depend on `{tap.label}`, so there is nothing to show")
    inner, spatial = replace(tap, item=None), images.shape[2:]
    maps, slopes = (_maps(tensor.detach(), inner, spatial) for tensor in (output, slope))
    heat = (slopes.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).relu()
    return F.interpolate(heat, size=tuple(spatial), mode="bilinear", align_corners=False)


def energy_in_mask(heat: Tensor, mask: Tensor) -> Tensor:
    """Share of the heat that lies in the tumour; chance is ``area_share``.

    Args:
        heat: Not negative, shape ``(B, 1, H, W)``.
        mask: Tumour, boolean, or numbers of which those above 0.5 are meant, same shape.

    Returns:
        Shares 0..1, shape ``(B,)``; NaN without heat.

    Raises:
        ValueError: The shapes differ, or a heat is negative.
    """
    heat, inside = _checked(heat, mask)
    return (heat * inside).sum((1, 2, 3)) / heat.sum((1, 2, 3))


def area_share(mask: Tensor) -> Tensor:
    """Share of the image that the tumour covers, shape ``(B,)``: the energy that heat spread evenly has in it."""
    return (mask > 0.5).double().mean((1, 2, 3))


def energy_over_chance(heat: Tensor, mask: Tensor) -> Tensor:
    """How many times the share that evenly spread heat would have lies in the tumour, shape ``(B,)``.

    Arguments and errors as for ``energy_in_mask``; NaN without heat or without tumour.
    """
    share = area_share(mask)
    return energy_in_mask(heat, mask) / torch.where(share > 0, share, math.nan)


def pointing_game(heat: Tensor, mask: Tensor, tolerance: float = 0.0) -> Tensor:
    """Whether the hottest pixel lies in the tumour or at most ``tolerance`` pixels from it; see ``pointing_chance``.

    Args:
        heat: Not negative, shape ``(B, 1, H, W)``.
        mask: Tumour, as for ``energy_in_mask``.
        tolerance: Distance between centres of pixels, 0 or more.

    Returns:
        1 for a hit and 0 for a miss, shape ``(B,)``; among pixels that are equally hot the share of hits, so that flat
        heat scores what chance does. NaN without heat.

    Raises:
        ValueError: The shapes differ, a heat or the tolerance is negative.
    """
    heat, inside = _checked(heat, mask)
    hottest = (heat == heat.amax((1, 2, 3), keepdim=True)).double()
    hits = (hottest * _widened(inside, tolerance)).sum((1, 2, 3)) / hottest.sum((1, 2, 3))
    return torch.where(heat.sum((1, 2, 3)) > 0, hits, math.nan)


def pointing_chance(mask: Tensor, tolerance: float = 0.0) -> Tensor:
    """How often a pixel chosen blindly is a hit of the ``pointing_game``, shape ``(B,)``.

    Raises:
        ValueError: The tolerance is negative.
    """
    return _widened(mask > 0.5, tolerance).double().mean((1, 2, 3))


def _run(network: nn.Module, images: Tensor, tap: Tap) -> tuple[Tensor, Tensor]:
    """Logits, and the layer's output as the logits were computed from it."""
    modules = find_modules(watchable(network), tap.module)
    if len(modules) > 1:
        raise ValueError(f"Grad-CAM reads one layer, {tap.module!r} fits {', '.join(modules)}")
    seen: list[Any] = []

    def keep(_module: nn.Module, _inputs: object, output: Any) -> Tensor | None:
        seen.append(output[tap.item] if isinstance(output, (tuple, list)) and tap.item is not None else output)
        return output.clone() if isinstance(output, Tensor) else None  # what follows may work in place

    (module,) = modules.values()
    handle = module.register_forward_hook(keep)
    try:
        logits: Tensor = network(images)
    finally:
        handle.remove()
    if len(seen) != 1:
        raise RuntimeError(f"`{tap.label}` ran {len(seen)} times in this forward pass, it must run once")
    if not isinstance(seen[0], Tensor):
        raise ValueError(
            f"`{tap.label}` gives {type(seen[0]).__name__}, Grad-CAM wants one tensor: set item, or name a "
            "module inside it"
        )
    return logits, seen[0]


def _maps(tensor: Tensor, tap: Tap, spatial: Sequence[int]) -> Tensor:
    maps = as_features(tensor, tap, spatial)
    if maps.ndim != 4:
        raise ValueError(f"`{tap.label}` gives features {tuple(maps.shape)}, Grad-CAM wants maps (B, C, H, W)")
    return maps if maps.dtype == torch.float64 else maps.float()


def _checked(heat: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    if heat.shape != mask.shape or heat.ndim != 4 or heat.shape[1] != 1:
        raise ValueError(f"heat is {tuple(heat.shape)} and mask {tuple(mask.shape)}, expected two of (B, 1, H, W)")
    if (heat < 0).any():
        raise ValueError("heat is negative in places: neither normalised nor inverted heat has a share in a tumour")
    return heat.double(), mask > 0.5


def _widened(inside: Tensor, tolerance: float) -> Tensor:
    """Pixels at most ``tolerance`` from one of the tumour."""
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance} pixels, it must not be negative")
    reach = math.floor(tolerance)
    steps = torch.arange(-reach, reach + 1, device=inside.device)
    disc = (steps[:, None] ** 2 + steps**2 <= tolerance**2).float()
    return F.conv2d(inside.float(), disc[None, None], padding=reach) > 0.5
