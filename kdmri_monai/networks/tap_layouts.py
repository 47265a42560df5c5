"""What a module gave, as maps ``(B, C, *spatial)`` or vectors ``(B, C)``."""

import warnings
from collections.abc import Sequence
from math import isqrt, prod
from typing import Any

from torch import Tensor
from torch.jit._trace import TracerWarning, is_tracing  # torch.jit has both, untyped

from kdmri_monai.networks.tap_spec import Layout, Tap

MAX_PREFIX_TOKENS = 8
"""Up to how many prefix tokens are proposed when tokens fill no grid."""


def as_features(given: Any, tap: Tap, spatial: Sequence[int] | None = None) -> Tensor:
    """What a module gave, or was given, as maps or vectors.

    Args:
        given: Output or input of the module.
        tap: Says which item, which layout, and how many prefix tokens to drop.
        spatial: Size of the image, to whose proportions a grid of tokens is laid out; without it grids are square.

    Returns:
        Maps ``(B, C, *spatial)`` or vectors ``(B, C)``.

    Raises:
        ValueError: No tensor, a layout that its dimensions do not fit, or tokens that fill no grid.
    """
    tensor = _pick(given, tap)
    layout = tap.layout or default_layout(tensor.ndim)
    wanted = {"vector": tensor.ndim == 2, "tokens": tensor.ndim == 3, "class_token": tensor.ndim == 3}
    if not wanted.get(layout, tensor.ndim >= 3):
        raise ValueError(f"`{tap.label}` gives {_shape_words(tensor)}, which is not of the layout {layout}")
    if layout == "channel_last":
        return tensor.movedim(-1, 1)
    if layout == "class_token":
        return tensor[:, 0]
    return _tokens_as_map(tensor, tap, spatial) if layout == "tokens" else tensor


def default_layout(dimensions: int) -> Layout:
    """Layout of a tensor whose tap names none: two dimensions a vector, three tokens, more a map, channel first."""
    by_dimensions: dict[int, Layout] = {2: "vector", 3: "tokens"}
    return by_dimensions.get(dimensions, "channel_first")


def token_grid(tokens: int, spatial: Sequence[int] | None = None) -> tuple[int, ...] | None:
    """The grid that so many tokens of an image fill: its size over one stride for all axes, rounded.

    Args:
        tokens: Number of tokens, prefix tokens not counted.
        spatial: Size of the image; without it the grid is a square.

    Returns:
        Sizes of the grid, row first, or ``None`` where there is none.
    """
    if tokens < 1:
        return None
    if spatial is None:
        grid: tuple[int, ...] = (isqrt(tokens),) * 2
    else:
        stride = (prod(spatial) / tokens) ** (1 / len(spatial))
        grid = tuple(round(size / stride) for size in spatial)
    return grid if prod(grid) == tokens else None


def prefix_that_fits(tokens: int, spatial: Sequence[int] | None = None) -> int | None:
    """The smallest number of prefix tokens, up to ``MAX_PREFIX_TOKENS``, after which the rest fills a grid."""
    counts = range(MAX_PREFIX_TOKENS + 1)
    return next((count for count in counts if token_grid(tokens - count, spatial) is not None), None)


def _pick(given: Any, tap: Tap) -> Tensor:
    sequence = isinstance(given, (tuple, list))
    if tap.item is not None:
        if not sequence or not -len(given) <= tap.item < len(given):
            what = f"{type(given).__name__} of {len(given)}" if sequence else type(given).__name__
            raise ValueError(f"`{tap.module}` gives {what}, which has no item {tap.item}")
        given = given[tap.item]
    if isinstance(given, Tensor):
        return given
    advice = f"set item (0 to {len(given) - 1}) or " if sequence and tap.item is None and len(given) else ""
    raise ValueError(
        f"`{tap.label}` gives {type(given).__name__}, a tap wants one tensor: {advice}name a module inside it"
    )


def _tokens_as_map(tokens: Tensor, tap: Tap, spatial: Sequence[int] | None) -> Tensor:
    length, channels = _sizes(tokens)[1:]
    left = length - tap.prefix_tokens
    grid = token_grid(left, spatial) if tap.grid is None else tap.grid
    if grid is None:
        raise ValueError(f"`{tap.label}` gives tokens {length} x {channels}: {_advice(length, spatial)}")
    if prod(grid) != left:
        raise ValueError(
            f"`{tap.label}` gives tokens {length} x {channels}: grid {' x '.join(map(str, grid))} wants {prod(grid)}, "
            f"without {tap.prefix_tokens} prefix tokens {left} are left"
        )
    return tokens[:, tap.prefix_tokens :].transpose(1, 2).unflatten(2, grid)


def _advice(length: int, spatial: Sequence[int] | None) -> str:
    prefix = prefix_that_fits(length, spatial)
    if prefix is not None:
        return f"set prefix_tokens={prefix}"
    shape = "a square" if spatial is None else f"the grid of an image {' x '.join(map(str, spatial))}"
    return f"with no prefix_tokens of 0 to {MAX_PREFIX_TOKENS} do they fill {shape}, set grid"


def _shape_words(tensor: Tensor) -> str:
    return f"a tensor of {tensor.ndim} dimensions {_sizes(tensor)}"


def _sizes(tensor: Tensor) -> tuple[int, ...]:
    if not is_tracing():
        return tuple(tensor.shape)
    with warnings.catch_warnings():
        # the grid of the tokens belongs to the network: it is meant to be a constant of its trace
        warnings.simplefilter("ignore", TracerWarning)
        return tuple(int(size) for size in tensor.shape)
