"""Pictures of what a network sees in a user's scans: the tumour that it predicts, or where it looks."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor, nn

from kdmri_monai.data.stored_scans import ALONE
from kdmri_monai.evaluation.heat_methods import HeatMethod, heat_methods
from kdmri_monai.evaluation.slice_batches import SliceBatch
from kdmri_monai.networks.dry_run import evaluating
from kdmri_monai.networks.geometry_classifier import GeometryClassifier
from kdmri_monai.networks.geometry_head import predicted_geometry
from kdmri_monai.networks.resampling import match_size
from kdmri_monai.networks.taps import FeatureTaps
from kdmri_monai.report.axes import INK, LABEL, SMALL, save
from kdmri_monai.report.overlays import draw_geometry

MAPS = "head.maps"
WORDS = {"grad_cam": "Heat of Grad-CAM", "attention_rollout": "Attention rollout"}


class ScanOverlays:
    """Handler that draws one PNG a slice into a folder and leaves their names under ``overlay`` of the output.

    A student with a geometry head is drawn with the tumour that it predicts, any other with Grad-CAM of the class that
    it chose, or attention rollout where it has no layer for that. It stands before ``ScanTable`` among the handlers.

    Args:
        network: Student whose batches hold the image alone.
        folder: Where the pictures go; made where it is missing.
        classes: Names of the K classes.

    Raises:
        ValueError: At the first batch, when the network offers no way to see where it looks.
    """

    def __init__(self, network: nn.Module, folder: str | Path, classes: tuple[str, ...]) -> None:
        self.network, self.folder, self.classes = network, Path(folder), tuple(classes)
        self.drawn = 0
        self._method: HeatMethod | None = None

    def attach(self, engine: Engine) -> None:
        """Registers the handler with an evaluator."""
        engine.add_event_handler(Events.STARTED, self.reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.draw)

    def reset(self) -> None:
        """Numbers the pictures from 1 again."""
        self.drawn = 0

    def draw(self, engine: Engine) -> None:
        """Draws every slice of one batch."""
        batch, output = engine.state.batch, engine.state.output
        images, stored = _plain(batch["image"]).to(engine.state.device), _plain(batch["stored"]).cpu().numpy()
        calibrated = _plain(output["calibrated"])
        paths = [self._path(batch, place) for place in range(len(images))]
        titles = [self._title(batch["name"][place], calibrated[place]) for place in range(len(images))]
        if isinstance(self.network, GeometryClassifier) and self.network.head is not None:
            self._draw_tumours(images, stored, titles, paths)
        else:
            self._draw_heat(images, calibrated.argmax(dim=1).to(images.device), stored, titles, paths)
        output["overlay"] = [path.name for path in paths]

    @torch.no_grad()
    def _draw_tumours(self, images: Tensor, stored: NDArray[np.uint8], titles: list[str], paths: list[Path]) -> None:
        with evaluating(self.network), FeatureTaps(self.network, [MAPS]).collect() as maps:
            self.network(images)
        for one, image, title, path in zip(maps[0].cpu().split(1), stored, titles, paths, strict=True):
            draw_geometry(image, predicted_geometry(one), title, path)

    def _draw_heat(
        self, images: Tensor, chosen: Tensor, stored: NDArray[np.uint8], titles: list[str], paths: list[Path]
    ) -> None:
        method = self._heat_method(tuple(images.shape[1:]))
        heat = match_size(method.heat(self.network, _as_slices(images), chosen).float(), stored.shape[1:])
        for one, image, title, path in zip(heat[:, 0].cpu().numpy(), stored, titles, paths, strict=True):
            save(heat_figure(image, one, title, WORDS[method.name]), path.with_suffix(""), ("png",))

    def _heat_method(self, image_shape: tuple[int, ...]) -> HeatMethod:
        if self._method is None:
            methods, reason = heat_methods(self.network, image_shape)
            if not methods:
                raise ValueError(f"overlays: where {type(self.network).__name__} looks cannot be seen: {reason}")
            self._method = methods[0]
        return self._method

    def _path(self, batch: Any, place: int) -> Path:
        self.drawn += 1
        number = int(batch["slice"][place])
        name = Path(batch["file"][place]).name + ("" if number == ALONE else f"_{number:03d}")
        plain_name = re.sub(r"[^\w.-]+", "_", name)
        return self.folder / f"{self.drawn:05d}_{plain_name.removesuffix('.png')}.png"

    def _title(self, name: str, probabilities: Tensor) -> str:
        best = int(probabilities.argmax())
        return f"{Path(name).name}\n{self.classes[best]}, calibrated probability {float(probabilities[best]):.3f}"


def heat_figure(image: NDArray[np.generic], heat: NDArray[np.floating[Any]], title: str, words: str) -> Figure:
    """The slice as it is, and beside it with heat as a translucent colour.

    Args:
        image: Grey values, shape ``(H, W)``.
        heat: Not negative, shape ``(H, W)``; scaled by its largest value, all zero stays without colour.
        title: Stands above.
        words: What the colour is.

    Raises:
        ValueError: Sizes that do not fit.
    """
    if image.ndim != 2 or heat.shape != image.shape:
        raise ValueError(f"heat is {heat.shape}, the image {image.shape}: one value a pixel is needed")
    figure = Figure(figsize=(6.6, 3.75), layout="constrained", dpi=150)
    figure.suptitle(title, fontsize=10, color=INK)
    plain, seen = figure.subplots(1, 2)
    for axes in (plain, seen):
        axes.imshow(image, cmap="gray", interpolation="nearest")
        axes.set_axis_off()
    share = heat / heat.max() if heat.max() > 0 else heat
    shown = seen.imshow(share, cmap="inferno", vmin=0.0, vmax=1.0, alpha=0.6 * share, interpolation="nearest")
    bar = figure.colorbar(shown, ax=seen, shrink=0.75, aspect=24, pad=0.02)
    bar.ax.tick_params(labelsize=SMALL, colors=INK, length=2)
    bar.set_label(f"{words}, share of its largest value", fontsize=LABEL, color=INK)
    return figure


def _as_slices(images: Tensor) -> SliceBatch:
    """Images of which nothing else is known, as examinations read them."""
    count, nobody = len(images), ("",) * len(images)
    none = torch.zeros(count, dtype=torch.bool, device=images.device)
    mask = torch.zeros(count, 1, *images.shape[2:], device=images.device)
    return SliceBatch(images, mask, none, none.long(), nobody, nobody, nobody)


def _plain(value: Tensor) -> Tensor:
    return value.as_tensor() if isinstance(value, MetaTensor) else value
