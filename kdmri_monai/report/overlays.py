"""Slices with the tumour as a student sees it, and the true border where there is one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from kdmri_monai.evaluation.prediction_pictures import BORDER, tumour_probability
from kdmri_monai.networks.geometry_head import PredictedGeometry
from kdmri_monai.report.axes import INK, LABEL, SMALL, save

PREDICTED, TRUE = "#E69F00", "#56B4E9"
"""Orange and sky blue of Okabe and Ito; on a grey image both differ from it and from each other for all readers."""

OPACITY = 0.55
"""Opacity of the colour where the tumour is certain; it fades to nothing with the probability."""

TISSUE = "#808080"

COLOURS = LinearSegmentedColormap.from_list("tumour", [(*to_rgb(PREDICTED), 0.0), (*to_rgb(PREDICTED), OPACITY)], N=256)


def draw_geometry(
    image: NDArray[np.generic],
    geometry: PredictedGeometry,
    title: str,
    path: Path,
    mask: NDArray[np.bool_] | None = None,
) -> Path:
    """Writes a PNG: the slice as it is, and beside it with the predicted tumour as a translucent colour and a contour.

    Args:
        image: Grey values, shape ``(H, W)``.
        geometry: Maps of this image, a batch of one, of any size: they cover the image.
        title: Stands above.
        path: File, ``.png``.
        mask: True tumour, shape ``(H, W)``; ``None`` where it is not known.

    Returns:
        The file.

    Raises:
        ValueError: Another suffix, or sizes that do not fit.
        OSError: The file cannot be written.
    """
    return _save(geometry_figure(image, geometry, title, mask), path)


def geometry_figure(
    image: NDArray[np.generic], geometry: PredictedGeometry, title: str, mask: NDArray[np.bool_] | None = None
) -> Figure:
    """What ``draw_geometry`` draws."""
    _check(image, geometry, mask)
    figure = Figure(figsize=(6.6, 3.75), layout="constrained", dpi=200)
    figure.suptitle(title, fontsize=10, color=INK)
    plain, seen = figure.subplots(1, 2)
    _slice(plain, image)
    _slice(seen, image)
    _tumour(seen, geometry, image.shape)
    if mask is not None:
        _true_border(seen, mask)
    _legend(figure, seen, borders=mask is not None)
    return figure


def geometry_sheet(
    images: Sequence[NDArray[np.generic]],
    geometries: Sequence[PredictedGeometry],
    titles: Sequence[str],
    path: Path,
    masks: Sequence[NDArray[np.bool_] | None] | None = None,
    columns: int = 4,
) -> Path:
    """Writes a PNG: a grid of slices with the predicted tumour, and the true border where there is one.

    Args:
        images: Grey values, each of shape ``(H, W)``.
        geometries: Maps of each image, batches of one.
        titles: Stand above each.
        path: File, ``.png``.
        masks: True tumour of each, ``(H, W)`` or ``None``; ``None`` where no true tumour is known.
        columns: Slices side by side.

    Returns:
        The file.

    Raises:
        ValueError: No images, not one of everything for each, another suffix, or sizes that do not fit.
        OSError: The file cannot be written.
    """
    masks = [None] * len(images) if masks is None else masks
    if not images or not len(images) == len(geometries) == len(titles) == len(masks) or columns < 1:
        counts = f"{len(images)} images, {len(geometries)} maps, {len(titles)} titles and {len(masks)} masks"
        raise ValueError(f"{counts} in {columns} columns: at least one column and one of each for every image")
    wide = min(columns, len(images))
    rows = -(-len(images) // wide)
    figure = Figure(figsize=(max(1.9 * wide + 0.9, 4.4), 2.1 * rows + 0.4), layout="constrained", dpi=200)
    grid = figure.subplots(rows, wide, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, geometry, title, mask in zip(grid.flat, images, geometries, titles, masks, strict=False):
        _check(image, geometry, mask)
        _slice(axes, image)
        axes.set_title(title, fontsize=SMALL, color=INK)
        _tumour(axes, geometry, image.shape)
        if mask is not None:
            _true_border(axes, mask)
    _legend(figure, list(grid.flat), borders=any(mask is not None for mask in masks))
    return _save(figure, path)


def _check(image: NDArray[np.generic], geometry: PredictedGeometry, mask: NDArray[np.bool_] | None) -> None:
    if image.ndim != 2:
        raise ValueError(f"an image has rows and columns, got {image.shape}")
    if geometry.mask.ndim != 4 or geometry.mask.shape[0] != 1:
        raise ValueError(f"maps of one image (1, 1, h, w) are drawn, got {tuple(geometry.mask.shape)}")
    if mask is not None and mask.shape != image.shape:
        raise ValueError(f"the mask is {mask.shape}, the image {image.shape}")


def _slice(axes: Axes, image: NDArray[np.generic]) -> None:
    axes.imshow(image, cmap="gray", interpolation="nearest")
    axes.set_axis_off()


def _tumour(axes: Axes, geometry: PredictedGeometry, size: tuple[int, ...]) -> None:
    probability = tumour_probability(geometry, size)
    axes.imshow(probability, cmap=COLOURS, vmin=0.0, vmax=1.0, interpolation="nearest")
    if probability.min() < BORDER <= probability.max():
        axes.contour(probability, levels=[BORDER], colors=[PREDICTED], linewidths=1.2)


def _true_border(axes: Axes, mask: NDArray[np.bool_]) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask.astype(float), levels=[0.5], colors=[TRUE], linewidths=1.2, linestyles="dashed")


def _legend(figure: Figure, beside: Axes | list[Axes], borders: bool) -> None:
    """The scale of the colour as it looks over grey tissue, and the lines."""
    scale = ScalarMappable(Normalize(0.0, 1.0), COLOURS)
    bar = figure.colorbar(scale, ax=beside, shrink=0.75, aspect=24, pad=0.02)
    bar.ax.set_facecolor(TISSUE)
    bar.set_ticks([0.0, BORDER, 1.0])
    bar.ax.tick_params(labelsize=SMALL, colors=INK, length=2)
    bar.set_label("Predicted probability of tumour", fontsize=LABEL, color=INK)
    bar.outline.set_visible(False)
    lines = [Line2D([], [], color=PREDICTED, lw=1.2, label=f"predicted border, probability {BORDER}")]
    if borders:
        lines.append(Line2D([], [], color=TRUE, lw=1.2, ls="dashed", label="true border"))
    figure.legend(handles=lines, loc="outside lower center", ncols=2, fontsize=SMALL, frameon=False)


def _save(figure: Figure, path: Path) -> Path:
    path = Path(path)
    if path.suffix != ".png":
        raise ValueError(f"{path} is to be a .png file")
    return save(figure, path.with_suffix(""), ("png",))[0]
