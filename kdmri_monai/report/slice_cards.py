"""Slices, heat and borders as small pictures and paths that a page can hold by the hundred."""

import io

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import approximate_polygon, find_contours
from skimage.transform import resize

SIZE = 160
"""Rows and columns of a slice, pixels."""

QUALITY = 65
"""Of WebP, 0..100: a slice of 160 pixels takes about 3 kB."""

GRID = 12
"""Rows and columns of a heat picture at most; the browser interpolates."""

STRONGEST = 0.75
"""Opacity of the hottest place."""

LEVELS = 24
"""Steps of the heat: fewer make smaller pictures."""

TOLERANCE = 0.4
"""How far a border may leave its contour, pixels of the mask."""


def encode_image(pixels: NDArray[np.generic], size: int = SIZE) -> bytes:
    """A slice as WebP.

    Args:
        pixels: Grey values, shape ``(S, S)``, uint8, first row on top.
        size: Rows and columns of the picture; a smaller slice is not enlarged.

    Raises:
        ValueError: The pixels are not a matrix of uint8.
    """
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise ValueError(f"a slice is {pixels.dtype} {pixels.shape}, expected uint8 (S, S)")
    image = Image.fromarray(pixels)
    scale = min(1.0, size / max(image.size))
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BOX)
    return _webp(image, quality=QUALITY, method=4)


def encode_heat(heat: NDArray[np.floating], grid: int = GRID) -> bytes:
    """Heat as a small picture that is clear where it is cold, in a colour map of even steps (magma).

    Args:
        heat: Not negative, shape ``(h, w)``, first row on top; it is scaled by its maximum.
        grid: Rows and columns of the picture at most.

    Raises:
        ValueError: The heat is no matrix, is negative or not finite.
    """
    if heat.ndim != 2 or not np.isfinite(heat).all() or (heat < 0).any():
        raise ValueError(f"heat is {heat.shape} from {heat.min()} to {heat.max()}, expected (h, w) of 0 and above")
    shape = tuple(min(side, grid) for side in heat.shape)
    small = resize(heat.astype(np.float64), shape, order=1, mode="edge", anti_aliasing=max(heat.shape) > grid)
    top = small.max()
    share = np.round(LEVELS * small / top) / LEVELS if top > 0 else np.zeros(shape)
    colours = mpl.colormaps["magma"](0.25 + 0.75 * share)
    colours[..., 3] = STRONGEST * share
    return _webp(Image.fromarray((255 * colours).round().astype(np.uint8)), lossless=True, method=4)


def border_path(mask: NDArray[np.bool_]) -> str:
    """The border of a tumour as an SVG path in the unit square, x to the right and y down.

    Args:
        mask: Shape ``(S, S)``, first row on top. A tumour may have several parts and holes, and may touch the edge.

    Returns:
        The path, closed; empty for an empty mask.
    """
    framed = np.pad(mask.astype(np.float64), 1)
    parts = []
    for contour in find_contours(framed, 0.5):
        points = approximate_polygon(contour, TOLERANCE)[:-1]
        if len(points) > 2:
            steps = (f"{(x - 0.5) / mask.shape[1]:.3f} {(y - 0.5) / mask.shape[0]:.3f}" for y, x in points)
            parts.append(f"M{'L'.join(steps)}Z")
    return "".join(parts)


def _webp(image: Image.Image, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return buffer.getvalue()
