"""Every place of a network where features can be tapped, found by a dry run."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdmri_monai.networks.dry_run import DRY_RUN_BATCH, dry_run
from kdmri_monai.networks.tap_layouts import prefix_that_fits, token_grid
from kdmri_monai.networks.tap_modules import watchable
from kdmri_monai.networks.tap_spec import Layout


@dataclass(frozen=True)
class TapRow:
    """One module that can be tapped.

    Attributes:
        name: Name of the module.
        kind: Name of its class.
        shape: Shape of its output without the batch, as the module gives it.
        layout: Layout as far as the shape tells: of four-dimensional tensors the last axis is taken for the channels
            where that leaves strides that differ less over the axes.
        stride: Pixels of the image per position of the feature map, along every axis; ``None`` where the output is
            a vector or fills no grid.
        parameters: Parameters of the module and the modules inside it.
        prefix_tokens: For tokens that fill a grid, how many must come off the front.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    layout: Layout
    stride: tuple[float, ...] | None
    parameters: int
    prefix_tokens: int = 0


def survey(network: nn.Module, image_shape: Sequence[int], depth: int | None = None) -> list[TapRow]:
    """Names, shapes and strides of all modules that a tap can read, in the order of the network.

    Left out are modules that do not run or run more than once in a pass, that give no tensor, or one whose first
    dimension is not the batch (windows of Swin) or whose dimensions fit no layout.

    Args:
        network: Any network; it is left as it was.
        image_shape: Channels and spatial size of one image, e.g. ``(1, 128, 128)``.
        depth: Only names of at most so many parts (``layer1.0`` has two); all by default.

    Raises:
        ValueError: The network is compiled.
    """
    named = [(name, module) for name, module in watchable(network).named_modules() if name]
    modules = {name: module for name, module in named if depth is None or name.count(".") < depth}
    outputs: dict[str, list[torch.Size | None]] = {name: [] for name in modules}
    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(_Recorder(outputs[name])).remove)
        dry_run(network, image_shape)
    rows = []
    for name, module in modules.items():
        given = outputs[name]
        shape = given[0] if len(given) == 1 else None
        if shape is not None and len(shape) > 1 and shape[0] == DRY_RUN_BATCH:
            rows += _row(name, module, tuple(shape[1:]), tuple(image_shape[1:]))
    return rows


class _Recorder:
    """A hook that notes the shape of every output; ``None`` for what is no tensor."""

    def __init__(self, shapes: list[torch.Size | None]) -> None:
        self.shapes = shapes

    def __call__(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self.shapes.append(output.shape if isinstance(output, Tensor) else None)


def _row(name: str, module: nn.Module, shape: tuple[int, ...], spatial: tuple[int, ...]) -> list[TapRow]:
    layout: Layout
    stride: tuple[float, ...] | None = None
    prefix = 0
    if len(shape) == 1:
        layout = "vector"
    elif len(shape) == len(spatial) + 1:
        layout, stride = _map_layout(shape, spatial)
    elif len(shape) == 2:
        layout = "tokens"
        prefix = prefix_that_fits(shape[0], spatial) or 0
        grid = token_grid(shape[0] - prefix, spatial)
        stride = _strides(grid, spatial) if grid else None
    else:
        return []
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return [TapRow(name, type(module).__name__, shape, layout, stride, parameters, prefix)]


def _map_layout(shape: tuple[int, ...], spatial: tuple[int, ...]) -> tuple[Layout, tuple[float, ...]]:
    first, last = _strides(shape[1:], spatial), _strides(shape[:-1], spatial)
    if max(last) / min(last) < max(first) / min(first):
        return "channel_last", last
    return "channel_first", first


def _strides(sizes: Sequence[int], spatial: Sequence[int]) -> tuple[float, ...]:
    return tuple(whole / size for whole, size in zip(spatial, sizes, strict=True))
