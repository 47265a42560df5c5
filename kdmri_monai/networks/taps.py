"""Features of any network, read by module name while it runs."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from kdmri_monai.networks.dry_run import DRY_RUN_BATCH, dry_run
from kdmri_monai.networks.tap_layouts import as_features
from kdmri_monai.networks.tap_modules import find_modules, watchable
from kdmri_monai.networks.tap_spec import Tap, TapSpec, as_tap

__all__ = ["FeatureTaps", "Tap", "TapSpec", "as_tap", "tap_shapes"]


class FeatureTaps:
    """Collects features from named modules of a network; the network's output stays as it is.

    The features are copies, since the layer after a tapped one may work in place (``BatchNorm`` before an in-place
    ``ReLU``). A module that taps its own inside ``forward`` can be copied, pickled, traced and exported.

    Args:
        network: Any network; wrappers of DDP are looked through.
        taps: Where to read, in the order wanted (finest map first for fusion): names, patterns, ``Tap`` objects or
            mappings with the fields of ``Tap``. A pattern gives its modules in the order of the network.
        image_shape: Channels and spatial size of one image; tokens are laid out in its proportions. Without it they
            are laid out as squares, so that volumes and oblong images want it.

    Raises:
        ValueError: A name is not a module of the network (the message lists near names), or the network is compiled.

    Example:
        >>> taps = FeatureTaps(network, ["layer[12]", "fc:input"])
        >>> with taps.collect() as features:
        ...     logits = network(image)
        >>> fine, coarse, vector = features
    """

    def __init__(self, network: nn.Module, taps: Sequence[TapSpec], image_shape: Sequence[int] | None = None) -> None:
        inner = watchable(network)
        found = [
            (replace(tap, module=name), module)
            for tap in map(as_tap, taps)
            for name, module in find_modules(inner, tap.module).items()
        ]
        self.taps = tuple(tap for tap, _ in found)
        self._modules = [module for _, module in found]
        self._spatial = None if image_shape is None else tuple(image_shape[1:])

    def __len__(self) -> int:
        return len(self.taps)

    @contextmanager
    def collect(self) -> Iterator[list[Tensor]]:
        """Features of the one forward pass inside the ``with`` block, in the order of the taps.

        The list is filled when the block ends: maps ``(B, C, *spatial)`` or vectors ``(B, C)``. The hooks are removed
        then, also after an error.

        Raises:
            RuntimeError: A tapped module did not run, or ran twice.
            ValueError: What a module gave is neither map nor vector (``as_features``).
        """
        seen: dict[int, Tensor] = {}
        features: list[Tensor] = []
        with ExitStack() as hooks:
            for place, (tap, module) in enumerate(zip(self.taps, self._modules, strict=True)):
                handle = _watch(module, _Reading(place, tap, self._spatial, seen))
                hooks.callback(handle.remove)
            yield features
        for place, tap in enumerate(self.taps):
            if place not in seen:
                raise RuntimeError(
                    f"{tap.module} did not run in this forward pass, so it gave no features (nor does a module of a "
                    "network that torch.compile has compiled)"
                )
            features.append(seen[place])


def tap_shapes(network: nn.Module, taps: Sequence[TapSpec], image_shape: Sequence[int]) -> list[torch.Size]:
    """Shapes ``(C, *spatial)`` or ``(C,)`` of the tapped features, from one dry run in eval mode on zeros.

    Args:
        network: Any network; the mode of each of its modules and its buffers stay as they are.
        taps: As for ``FeatureTaps``; a pattern gives as many shapes as it has modules.
        image_shape: Channels and spatial size of one image, e.g. ``(1, 128, 128)``.

    Raises:
        ValueError: As ``FeatureTaps``, or features whose first dimension is not the batch.
    """
    reader = FeatureTaps(network, taps, image_shape)
    with reader.collect() as features:
        dry_run(network, image_shape)
    for tap, feature in zip(reader.taps, features, strict=True):
        if len(feature) != DRY_RUN_BATCH:
            raise ValueError(
                f"`{tap.label}` gives {len(feature)} samples for a batch of {DRY_RUN_BATCH} (windows, as in Swin's "
                "attention, or another first dimension): tap the module around it"
            )
    return [feature.shape[1:] for feature in features]


class _Reading:
    """The hook of one tap, which leaves its features in ``seen``."""

    def __init__(self, place: int, tap: Tap, spatial: tuple[int, ...] | None, seen: dict[int, Tensor]) -> None:
        self.place, self.tap, self.spatial, self.seen = place, tap, spatial, seen

    def output(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self._keep(output)

    def input(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not inputs:
            raise ValueError(f"{self.tap.module} is given no positional input, so `{self.tap.label}` cannot be read")
        self._keep(inputs[0])

    def _keep(self, given: Any) -> None:
        if self.place in self.seen:
            raise RuntimeError(
                f"{self.tap.module} ran twice in one collect(), so which features are meant is not clear: tap a module "
                "that runs once, and collect every forward pass on its own"
            )
        self.seen[self.place] = as_features(given, self.tap, self.spatial).clone()


def _watch(module: nn.Module, reading: _Reading) -> torch.utils.hooks.RemovableHandle:
    if reading.tap.at == "input":
        return module.register_forward_pre_hook(reading.input)
    return module.register_forward_hook(reading.output)
