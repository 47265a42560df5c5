"""Features of any network, read by module name while it runs."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

Layout = Literal["channel_first", "channel_last", "tokens"]


@dataclass(frozen=True)
class Tap:
    """One place to read features.

    Attributes:
        module: Name of the module as ``network.named_modules()`` gives it, e.g. ``backbone.layers2.0``.
        layout: What the module gives: maps ``(B, C, H, W)``, maps ``(B, H, W, C)`` or tokens ``(B, L, C)``.
            By default tensors of three dimensions are tokens, all others channel first.
        prefix_tokens: Class and register tokens at the front of a token sequence; they are dropped.
    """

    module: str
    layout: Layout | None = None
    prefix_tokens: int = 0


TapSpec = str | Tap | Mapping[str, Any]


class FeatureTaps:
    """Collects maps ``(B, C, H, W)`` from named modules of a network; the network's output stays as it is.

    Args:
        network: Any network; wrappers of DDP and of ``torch.compile`` are looked through.
        taps: Where to read, in the order wanted (finest map first for fusion): names, ``Tap`` objects or mappings with
            the fields of ``Tap``.

    Raises:
        ValueError: A name is not a module of the network; the message lists the nearest names.

    Example:
        >>> taps = FeatureTaps(network, ["layer1", "layer2"])
        >>> with taps.collect() as features:
        ...     logits = network(image)
        >>> fine, coarse = features
    """

    def __init__(self, network: nn.Module, taps: Sequence[TapSpec]) -> None:
        self.taps = tuple(as_tap(tap) for tap in taps)
        self._modules = [_find_module(network, tap.module) for tap in self.taps]

    def __len__(self) -> int:
        return len(self.taps)

    @contextmanager
    def collect(self) -> Iterator[list[Tensor]]:
        """Maps of the one forward pass inside the ``with`` block, in the order of the taps.

        The list is filled when the block ends. The hooks are removed then, also after an error.

        Raises:
            RuntimeError: A tapped module did not run.
            ValueError: What a module gave is no map (``as_map``).
        """
        seen: dict[int, Tensor] = {}
        features: list[Tensor] = []
        handles = [
            module.register_forward_hook(lambda _module, _inputs, output, place=place: seen.update({place: output}))
            for place, module in enumerate(self._modules)
        ]
        try:
            yield features
        finally:
            for handle in handles:
                handle.remove()
        for place, tap in enumerate(self.taps):
            if place not in seen:
                raise RuntimeError(f"{tap.module} did not run in this forward pass, so it gave no features")
            features.append(as_map(seen[place], tap))


def as_tap(spec: TapSpec) -> Tap:
    """A tap from its name, its fields or itself."""
    if isinstance(spec, Tap):
        return spec
    return Tap(spec) if isinstance(spec, str) else Tap(**spec)


def as_map(output: Any, tap: Tap) -> Tensor:
    """What a module gave, as maps ``(B, C, H, W)``.

    Args:
        output: Output of the module.
        tap: Says the layout and how many prefix tokens to drop.

    Raises:
        ValueError: The output is no tensor, or tokens that do not fill a square grid.
    """
    if not isinstance(output, Tensor):
        raise ValueError(f"{tap.module} gives {type(output).__name__}, a tap wants one tensor: name a module inside it")
    layout = tap.layout or ("tokens" if output.ndim == 3 else "channel_first")
    if layout == "channel_first":
        return output
    if layout == "channel_last":
        return output.movedim(-1, 1)
    tokens = output[:, tap.prefix_tokens :].transpose(1, 2)
    side = isqrt(tokens.shape[2])
    if side * side != tokens.shape[2]:
        raise ValueError(
            f"{tap.module} gives tokens {output.shape[1]} x {output.shape[2]}; without {tap.prefix_tokens} prefix "
            f"tokens {tokens.shape[2]} are left, which fill no square grid: set prefix_tokens (1 for a class token)"
        )
    return tokens.unflatten(2, (side, side))


def tap_shapes(network: nn.Module, taps: Sequence[TapSpec], image_shape: Sequence[int]) -> list[torch.Size]:
    """Shapes ``(C, H, W)`` of the tapped maps, from one dry run in eval mode on zeros.

    Args:
        network: Any network; its mode is restored.
        taps: As for ``FeatureTaps``.
        image_shape: Channels and spatial size of one image, e.g. ``(1, 128, 128)``.
    """
    parameter = next(network.parameters())
    image = torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype)
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), FeatureTaps(network, taps).collect() as features:
            network(image)
    finally:
        network.train(was_training)
    return [feature.shape[1:] for feature in features]


def _find_module(network: nn.Module, name: str) -> nn.Module:
    inner = network.module if isinstance(network, (DataParallel, DistributedDataParallel)) else network
    inner = getattr(inner, "_orig_mod", inner)
    modules = dict(inner.named_modules())
    if name in modules and name:
        return modules[name]
    names = [known for known in modules if known]
    near = difflib.get_close_matches(name, names, n=8, cutoff=0.3) or names[:8]
    raise ValueError(f"{type(inner).__name__} has no module {name!r}; near names: {', '.join(near)}")
