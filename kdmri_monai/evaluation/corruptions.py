"""What can go wrong with a slice, at five severities, and the same for a slice whatever batch it comes in.

After Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR
2019: corruptions that training did not see in this form, five severities each. Severity 1 can hardly be seen, severity
5 is bad but still shows a head.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from kdmri_monai.evaluation import corruptions_intensity as intensity
from kdmri_monai.evaluation import corruptions_kspace as kspace
from kdmri_monai.evaluation import corruptions_space as space
from kdmri_monai.evaluation.slice_batches import SliceBatch

SEVERITIES = (1, 2, 3, 4, 5)

Draw = Callable[[Generator, Sequence[int]], Tensor]
"""Generator of a slice, its rows and columns to the numbers that are drawn for it."""


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        name: In files.
        title: For people.
        unit: Of the parameters, to stand behind a number.
        parameters: Strength by severity, ascending.
        apply: Images ``(B, 1, H, W)``, a parameter and, where there is ``draw``, what it drew ``(B, ...)`` to images.
        draw: What chance decides; ``None`` where it decides nothing. Severities share it.
        moves: Whether the head moves, and the mask with it.
    """

    name: str
    title: str
    unit: str
    parameters: tuple[float, float, float, float, float]
    apply: Callable[..., Tensor]
    draw: Draw | None = None
    moves: bool = False


CORRUPTIONS = (
    Corruption(
        "noise",
        "Rician noise",
        "% of full brightness",
        (1.0, 2.0, 4.0, 6.0, 9.0),
        intensity.rician_noise,
        intensity.draw_noise,
    ),
    Corruption("blur", "Blur", "% of the field of view", (0.4, 0.7, 1.0, 1.5, 2.0), space.gaussian_blur),
    Corruption(
        "bias_field",
        "Bias field",
        "times the lowest gain",
        (1.5, 2.5, 4.0, 6.0, 10.0),
        intensity.bias_field,
        intensity.draw_bias,
    ),
    Corruption(
        "motion",
        "Motion",
        "degrees and % of the field of view",
        (0.5, 1.0, 2.0, 4.0, 6.0),
        kspace.motion,
        kspace.draw_motion,
    ),
    Corruption(
        "ghosting",
        "Ghosting",
        "% of every n-th line lost",
        (20.0, 40.0, 70.0, 100.0, 140.0),
        kspace.ghosting,
        kspace.draw_ghosts,
    ),
    Corruption(
        "contrast",
        "Contrast",
        "as gamma or its inverse",
        (1.15, 1.35, 1.6, 2.0, 2.5),
        intensity.gamma,
        intensity.draw_direction,
    ),
    Corruption(
        "resolution", "Resolution", "% of the field of view a pixel", (1.25, 1.6, 2.2, 3.0, 4.0), space.coarse_pixels
    ),
    Corruption(
        "rotation",
        "Rotation",
        "degrees",
        (5.0, 10.0, 20.0, 30.0, 45.0),
        space.rotation,
        intensity.draw_direction,
        moves=True,
    ),
)


def corrupt(batch: SliceBatch, corruption: Corruption, severity: int, seed: int = 0) -> SliceBatch:
    """The slices with one corruption.

    What chance decides depends on seed, corruption and the id of the slice alone, and is drawn on the CPU: a slice is
    corrupted alike in every batch, in every order and on every device, and more of the same at a higher severity.

    Args:
        batch: Slices of one channel, 0..1.
        corruption: Which.
        severity: 1 to 5.
        seed: Another seed draws anew.

    Returns:
        Images 0..1; the mask too where the head moves.

    Raises:
        ValueError: Another severity, images of another shape or outside 0..1.
    """
    if severity not in SEVERITIES:
        raise ValueError(f"severity is {severity}, allowed are {', '.join(map(str, SEVERITIES))}")
    _check(batch.image)
    drawn = () if corruption.draw is None else (_drawn(batch, corruption.name, corruption.draw, seed),)
    parameter = corruption.parameters[severity - 1]
    image = corruption.apply(batch.image, parameter, *drawn)
    if not corruption.moves:
        return batch.with_image(image)
    mask = corruption.apply(batch.mask, parameter, *drawn) > 0.5
    return batch.with_image(image, mask.to(batch.mask))


def _drawn(batch: SliceBatch, name: str, draw: Draw, seed: int) -> Tensor:
    size = batch.image.shape[2:]
    return torch.stack([draw(_generator(f"{seed}/{name}/{id_}"), size) for id_ in batch.id]).to(batch.image.device)


def _generator(text: str) -> Generator:
    """A generator on the CPU, the same for the same text on every machine."""
    digest = hashlib.sha256(text.encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _check(image: Tensor) -> None:
    if image.ndim != 4 or image.shape[1] != 1:
        raise ValueError(f"images are {tuple(image.shape)}, expected (B, 1, H, W)")
    if not ((image >= 0) & (image <= 1)).all():  # NaN is outside too
        raise ValueError(f"images reach from {image.min():g} to {image.max():g}, allowed is 0..1")
