"""The layer that Grad-CAM reads where nobody names one.

Source: Selvaraju et al., "Grad-CAM", ICCV 2017, section 3: the last layers that still know places are the best
compromise between high-level meaning and spatial detail.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from monai.networks.blocks.selfattention import SABlock
from torch import Tensor, nn

from kdmri_monai.networks.dry_run import DRY_RUN_BATCH, evaluating
from kdmri_monai.networks.tap_modules import watchable
from kdmri_monai.networks.tap_spec import Tap, TapSpec
from kdmri_monai.networks.tap_survey import TapRow, survey
from kdmri_monai.networks.taps import FeatureTaps

MIN_GRID = 6
"""Positions along every axis below which maps are too coarse: three of them cannot point at a tumour."""

READ_SHARE = 0.5
"""Share of the places of a map that the logits must depend on; after the last block of a ViT whose head reads the
class token they depend on none."""


def default_cam_layer(network: nn.Module, image_shape: Sequence[int]) -> Tap:
    """The last layer of a network that still knows places well enough.

    The rule, tried on noise: the layer's output is maps, or tokens that fill a grid, of at least ``MIN_GRID`` positions
    along both axes; it depends on the image; and the logits depend on more than ``READ_SHARE`` of its places. Of these
    layers the one that finishes last in a forward pass is taken: one of the part named ``backbone`` where there is one,
    since heads behind it read several layers at once; and one that holds other modules (a stage or a block) before one
    inside it, which gives only what a residual connection adds.

    So the third stage of a ResNet or Swin at 96 to 128 pixels, the fourth of a ResNet at 192; the block before the last
    of a ViT with class token.

    Args:
        network: Gives logits ``(B, K)`` for images alone; privileged inputs, which may be left out, are. It stays as
            it is.
        image_shape: Channels and size of one image, e.g. ``(1, 96, 96)``.

    Returns:
        The layer with its layout.

    Raises:
        ValueError: There is no such layer, or the network is compiled.
    """
    inner = watchable(network)
    modules = dict(inner.named_modules())
    inside = tuple(f"{name}." for name, module in modules.items() if isinstance(module, SABlock))  # L x L is no map
    found = (row for row in survey(inner, image_shape) if not row.name.startswith(inside))
    rows = {row.name: row for row in found if _knows_places(row, image_shape[1:])}

    def preference(name: str) -> tuple[bool, bool, int]:
        holds_others = next(modules[name].children(), None) is not None
        return name.split(".")[0] == "backbone", holds_others, finished.index(name)

    with evaluating(inner), torch.enable_grad(), _outputs({name: modules[name] for name in rows}) as outputs:
        image = _noise(inner, image_shape).requires_grad_()
        logits: Tensor = inner(image)
        finished = list(outputs)
        score = (logits * torch.arange(1, logits.shape[-1] + 1, device=logits.device)).sum()
        slopes = dict(zip(finished, _slopes(score, list(outputs.values())), strict=True))
        read = [name for name, slope in slopes.items() if slope is not None and _is_read(slope, rows[name])]
        ranked = sorted(read, key=preference, reverse=True)
        best = next((rows[name] for name in ranked if _depends(outputs[name], image)), None)
    if best is None:
        raise ValueError(
            f"no layer of {type(inner).__name__} gives maps of at least {MIN_GRID} x {MIN_GRID} positions for images "
            f"{' x '.join(map(str, image_shape))} that come from the image and that its logits depend on; name one"
        )
    return Tap(best.name, best.layout, best.prefix_tokens)


def depends_on_image(network: nn.Module, layer: TapSpec, image_shape: Sequence[int]) -> bool:
    """Whether what a layer gives depends on the image, and not on privileged inputs alone; tried on noise.

    Raises:
        ValueError: No such layer, or one whose output a tap cannot read.
        RuntimeError: The layer did not run.
    """
    inner = watchable(network)
    with evaluating(inner), torch.enable_grad():
        image = _noise(inner, image_shape).requires_grad_()
        with FeatureTaps(inner, [layer], image_shape).collect() as features:
            inner(image)
        return all(_depends(feature, image) for feature in features)


def _knows_places(row: TapRow, spatial: Sequence[int]) -> bool:
    if row.stride is None:
        return False
    sizes = [size / stride for size, stride in zip(spatial, row.stride, strict=True)]
    return min(sizes) >= MIN_GRID and min(row.stride) >= 1


@contextmanager
def _outputs(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """What the modules give inside the ``with`` block by name, in the order in which they finish."""
    outputs: dict[str, Tensor] = {}

    def keeper(name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            outputs[name] = output
            return output.clone()  # what follows may work in place

        return keep

    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(keeper(name)).remove)
        yield outputs


def _noise(network: nn.Module, image_shape: Sequence[int]) -> Tensor:
    held = next((tensor for tensor in network.parameters() if tensor.is_floating_point()), torch.zeros(()))
    noise = torch.rand(DRY_RUN_BATCH, *image_shape, generator=torch.Generator().manual_seed(0))
    return noise.to(held.device, held.dtype)


def _slopes(score: Tensor, of: list[Tensor]) -> Sequence[Tensor | None]:
    wanted = [tensor for tensor in of if tensor.requires_grad]
    if not (score.requires_grad and wanted):
        return [None] * len(of)
    found = iter(torch.autograd.grad(score, wanted, retain_graph=True, allow_unused=True))
    return [next(found) if tensor.requires_grad else None for tensor in of]


def _depends(output: Tensor, image: Tensor) -> bool:
    return _slopes(output.sum(), [image])[0] is not None


def _is_read(slope: Tensor, row: TapRow) -> bool:
    """Whether enough of the places have a gradient."""
    channels = 1 if row.layout == "channel_first" else -1
    read = (slope != 0).any(dim=channels).flatten(start_dim=1)
    return float(read[:, row.prefix_tokens :].double().mean()) > READ_SHARE
