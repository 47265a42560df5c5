"""Intensity augmentation against the shortcut of the source: air that says where a slice comes from.

In the Figshare set most gliomas come from a second source (patient ids ``MR...``) whose air is exactly black, while the
air of all other slices is noisy. A network that looks at the air is told the class of these.
"""

import torch
from kornia.augmentation import IntensityAugmentationBase2D
from kornia.augmentation import random_generator as rg
from kornia.augmentation.random_generator.base import RandomGeneratorBase
from torch import Tensor


class RandomNoiseFloor(IntensityAugmentationBase2D):
    """Takes away all that is darker than a random grey value, as scanners do that blank the air.

    ``max(x - floor, 0) / (1 - floor)``: bright places keep their value nearly, 1 stays 1.

    Args:
        floor: Smallest and largest floor, of images in 0..1.
        p: Probability of a sample.
        same_on_batch: One floor for the batch.
        keepdim: As for kornia.

    Shape: images ``(B, C, H, W)``.

    Raises:
        ValueError: The floors are not in order within 0 and 1.
    """

    def __init__(
        self,
        floor: tuple[float, float] = (0.0, 0.06),
        p: float = 0.5,
        same_on_batch: bool = False,
        keepdim: bool = False,
    ) -> None:
        super().__init__(p=p, same_on_batch=same_on_batch, p_batch=1.0, keepdim=keepdim)
        low, high = floor
        if not 0 <= low <= high < 1:
            raise ValueError(f"floor is {tuple(floor)}, expected 0 <= smallest <= largest < 1")
        self._param_generator = rg.PlainUniformGenerator(((low, high), "floor", None, None))

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, object], transform: Tensor | None = None
    ) -> Tensor:
        """Images without what is below their floors."""
        floor = params["floor"].to(input).reshape(-1, 1, 1, 1)
        return (input - floor).clamp_min(0) / (1 - floor)


class RandomRicianNoise(IntensityAugmentationBase2D):
    """Noise of magnitude images: where there is signal it is Gaussian, in the air it is always positive.

    ``|x + n1 + i n2|`` with independent normal ``n1`` and ``n2``. Source: Gudbjartsson and Patz, "The Rician
    distribution of noisy MRI data", Magnetic Resonance in Medicine 34 (1995), 910-914, equation 1; MONAI's
    ``RandRicianNoise`` does the same for one image at a time.

    Args:
        std: Smallest and largest standard deviation, of images in 0..1.
        p: Probability of a sample.
        same_on_batch: One strength and one noise for the batch.
        keepdim: As for kornia.

    Shape: images ``(B, C, H, W)``.

    Raises:
        ValueError: The standard deviations are not in order, or below 0.
    """

    def __init__(
        self,
        std: tuple[float, float] = (0.0, 0.02),
        p: float = 0.5,
        same_on_batch: bool = False,
        keepdim: bool = False,
    ) -> None:
        super().__init__(p=p, same_on_batch=same_on_batch, p_batch=1.0, keepdim=keepdim)
        low, high = std
        if not 0 <= low <= high:
            raise ValueError(f"std is {tuple(std)}, expected 0 <= smallest <= largest")
        self._param_generator = _ComplexNoise(low, high)

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, object], transform: Tensor | None = None
    ) -> Tensor:
        """Magnitudes of the noisy images."""
        return torch.hypot(input + params["real"].to(input), params["imaginary"].to(input).expand_as(input))


class _ComplexNoise(RandomGeneratorBase):
    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def make_samplers(self, device: torch.device, dtype: torch.dtype) -> None:
        """Everything is drawn when it is asked for."""

    def forward(self, batch_shape: tuple[int, ...], same_on_batch: bool = False) -> dict[str, Tensor]:
        """Both parts of the noise, one strength a sample."""
        size = (1 if same_on_batch and batch_shape[0] else batch_shape[0], *batch_shape[1:])
        where = {"device": self.device, "dtype": self.dtype}
        std = self.low + (self.high - self.low) * torch.rand(size[0], 1, 1, 1, **where)
        return {"real": std * torch.randn(size, **where), "imaginary": std * torch.randn(size, **where)}
