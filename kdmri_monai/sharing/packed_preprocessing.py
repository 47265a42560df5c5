"""From a picture file to the image of a packed student, in transforms of MONAI and a line of torch where it has none.

The same as ``kdmri prepare`` and the training, bit by bit, whatever size the picture has: percentiles to 0..255 and
rounded, zeros to a square, exact area means (linear interpolation where the square grows) and rounded, the network's
size by area, 0..1. MONAI's ``area`` alone is not exact: where sides do not divide, its blocks overlap.
"""

from typing import Any

from kdmri_monai.data.pixels import LOWER, UPPER

GREY = "$lambda picture: picture if picture.mode.startswith('I') else picture.convert('L')"
"""Colours become grey, deep grey stays deep: as ``kdmri prepare`` reads pictures."""

SQUARE = (
    "$lambda image: torch.nn.functional.pad(image, ["
    "(max(image.shape) - image.shape[2]) // 2, (max(image.shape) - image.shape[2] + 1) // 2, "
    "(max(image.shape) - image.shape[1]) // 2, (max(image.shape) - image.shape[1] + 1) // 2])"
)
"""Zeros on both sides of the shorter dimension; an odd one goes to the end."""

INTEGRAL = "$lambda image: torch.nn.functional.pad(image.cumsum(1).cumsum(2) / max(image.shape) ** 2, [1, 0, 1, 0])"
"""Mass above and left of every pixel edge, the whole square having the area 1; ``(1, n, n)`` to ``(1, n+1, n+1)``."""


def preprocessing_steps(store_size: int) -> list[dict[str, Any]]:
    """From a file to ``(1, H, W)``.

    Args:
        store_size: Side of the prepared images, pixels.
    """
    return [
        {
            "_target_": "LoadImaged",
            "keys": "image",
            "reader": {"_target_": "PILReader", "converter": GREY, "reverse_indexing": False},
            "dtype": "$torch.float64",
            "image_only": True,
        },
        {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": "no_channel"},
        {
            "_target_": "ScaleIntensityRangePercentilesd",
            "keys": "image",
            "lower": LOWER,
            "upper": UPPER,
            "b_min": 0.0,
            "b_max": 255.0,
            "clip": True,
            "dtype": "$torch.float64",
        },
        _torch("$torch.round"),
        _torch(SQUARE),
        *_resampling(store_size),
        {"_target_": "Resized", "keys": "image", "spatial_size": ["@image_size", "@image_size"], "mode": "area"},
        {
            "_target_": "ScaleIntensityRanged",
            "keys": "image",
            "a_min": 0.0,
            "a_max": 255.0,
            "b_min": 0.0,
            "b_max": 1.0,
            "clip": True,
        },
    ]


def _resampling(size: int) -> list[dict[str, Any]]:
    """A square to ``(1, S, S)``, rounded.

    The mean of a new pixel is the mass between its edges, which linear interpolation of the integral gives exactly;
    squares that are too small grow first. The last rounding is of 32 bits, as in the store, so that halves stay halves.
    MONAI's ``Resized`` would interpolate too, but rounds to 32 bits at once, of which the differences leave too few.
    """
    resize = "torch.nn.functional.interpolate"
    grown = f"{resize}(image[None], size=[{size}, {size}], mode='bilinear')[0]"
    mass = "edges[:, 1:, 1:] - edges[:, :-1, 1:] - edges[:, 1:, :-1] + edges[:, :-1, :-1]"
    corners = f"size=[{size + 1}, {size + 1}], mode='bilinear', align_corners=True"
    return [
        _torch(f"$lambda image: image if max(image.shape) >= {size} else {grown}"),
        _torch(INTEGRAL),
        _torch(f"$lambda integral: {resize}(integral[None], {corners})[0]"),
        _torch(f"$lambda edges: ({mass}) * {size**2}"),
        _torch("$lambda image: image.float().round()"),
    ]


def _torch(expression: str) -> dict[str, Any]:
    return {"_target_": "Lambdad", "keys": "image", "func": expression}
