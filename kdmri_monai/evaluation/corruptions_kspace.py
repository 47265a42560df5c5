"""Corruptions of the acquisition: the head moves, or lines of k-space lose signal in a regular way.

A line of k-space is one phase encoding, along the rows of the image; lines are read from one end of k-space to the
other. Only the Fourier transform along the rows is needed, as whole lines are replaced or weakened.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from kdmri_monai.evaluation.corruptions_space import moved

MOVES = 4
"""Times that a head moves: one in every quarter of the acquisition."""

GHOSTS = (3, 6)
"""Fewest and most ghosts."""

SPARED = 0.02
"""Share of the lines around the centre of k-space that no ghost weakens."""


def draw_motion(generator: Generator, _size: Sequence[int]) -> Tensor:
    """When the head moves, as a share of a quarter, and its turn and shifts since, -1..1, shape ``(MOVES + 1, 4)``.

    The first row is the pose at the start; its time counts for nothing.
    """
    drawn = torch.rand(MOVES + 1, 4, generator=generator)
    drawn[:, 1:] = 2 * drawn[:, 1:] - 1
    return drawn


def motion(image: Tensor, most: float, drawn: Tensor) -> Tensor:
    """Every line of k-space is that of the head as it lay when the line was read.

    The pose in which the centre of k-space is read is that of the image as it was, so that a mask still fits.

    Source: Shaw et al., "MRI k-space motion artefact augmentation", MIDL 2019, section 2. Differs: moves are in the
        plane and sudden; poses are drawn evenly up to a limit, and relative to that at the centre, not to their mean.

    Args:
        image: Shape ``(B, 1, H, W)``, 0..1.
        most: Limit of a turn in degrees, and of a shift right and down in per cent of the field of view.
        drawn: Shape ``(B, MOVES + 1, 4)``, as ``draw_motion`` gives it.
    """
    batch, poses = drawn.shape[:2]
    turn = most * drawn[:, :, 1]
    seen = moved(image.repeat_interleave(poses, dim=0), turn.flatten(), most * drawn[:, :, 2:].flatten(0, 1))
    seen = seen.view(batch, poses, *image.shape[2:])
    pose = _pose_of_line(drawn[:, 1:, 0], image.shape[2])
    seen = torch.where((torch.arange(poses, device=pose.device) == pose[:, :1])[..., None, None], image, seen)
    lines = torch.fft.fft(seen, dim=2)
    chosen = lines.gather(1, pose[:, None, :, None].expand(-1, 1, -1, image.shape[3]))
    return torch.fft.ifft(chosen, dim=2).abs().clamp(0, 1)


def draw_ghosts(generator: Generator, _size: Sequence[int]) -> Tensor:
    """Number of ghosts, and the first line that is weakened, shape ``(2,)``."""
    ghosts = torch.randint(GHOSTS[0], GHOSTS[1] + 1, (), generator=generator)
    return torch.stack([ghosts, torch.randint(int(ghosts), (), generator=generator)])


def ghosting(image: Tensor, percent: float, drawn: Tensor) -> Tensor:
    """Every n-th line of k-space but those at its centre is weakened, which gives n ghosts along the rows.

    Source: the definition of ghosts in Perez-Garcia et al., "TorchIO", Comput Methods Programs Biomed 2021.

    Args:
        image: Shape ``(B, 1, H, W)``, 0..1.
        percent: Signal that such a line loses, per cent; above 100 what is left has the other sign.
        drawn: Shape ``(B, 2)``, as ``draw_ghosts`` gives it.
    """
    frequency = _frequencies(image.shape[2], image.device)
    ghosts, first = drawn[:, :1], drawn[:, 1:]
    weak = (frequency % ghosts == first) & (frequency.abs() > SPARED / 2 * image.shape[2])
    left = 1 - percent / 100 * weak.to(image)
    return torch.fft.ifft(torch.fft.fft(image, dim=2) * left[:, None, :, None], dim=2).abs().clamp(0, 1)


def _pose_of_line(times: Tensor, lines: int) -> Tensor:
    """Number of the pose in which every line was read, the centre of k-space first, shape ``(B, lines)``."""
    ends = (torch.arange(MOVES, device=times.device) + times) / MOVES
    read = (_frequencies(lines, times.device) + lines // 2 + 0.5) / lines
    return (read[None, :, None] > ends[:, None, :]).sum(dim=2)


def _frequencies(lines: int, device: torch.device) -> Tensor:
    """Cycles in the field of view of every line as ``torch.fft.fft`` orders them, the centre first, int64."""
    return torch.fft.fftfreq(lines, 1 / lines, device=device).round().long()
