"""Does heat show what a network has learned? The same heat of the same network with random weights.

Source: Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, section 3 (model parameter randomisation): heat
that stays as it is when the weights become random shows the image or the architecture, not the training. Similarity is
Spearman's rank correlation and the structural similarity (Wang et al., "Image quality assessment", IEEE TIP 2004).
Differs: all layers at once, which is the end of the paper's cascade, and several draws of the weights.
"""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from skimage.metrics import structural_similarity
from torch import Tensor, nn


def randomised_copy(network: nn.Module, seed: int) -> nn.Module:
    """A copy of a network with nothing of what it learned.

    Args:
        network: Any network; it stays as it is, and so does the state of random numbers.
        seed: The same seed gives the same weights, on every device.

    Returns:
        A copy on the same device, in the same mode. Modules with ``reset_parameters`` are initialised anew, which takes
        a batch norm's running statistics back too; parameters of other modules (positions, class tokens) are drawn from
        a normal distribution of their own mean and standard deviation, so that one of equal numbers stays.
    """
    fresh = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)  # all draws are made on the CPU
        for module in fresh.modules():
            _randomise(module)
    return fresh


def rank_correlation(first: Tensor, second: Tensor) -> NDArray[np.float64]:
    """Spearman's correlation of two heats over the pixels, equal values sharing their mean rank.

    Args:
        first: Shape ``(B, 1, H, W)``.
        second: Same shape.

    Returns:
        -1..1, shape ``(B,)``; NaN where one of the two is the same everywhere.

    Raises:
        ValueError: The shapes differ.
    """
    ranks = [rankdata(heat.reshape(len(heat), -1), axis=1) for heat in _arrays(first, second)]
    one, other = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    scale = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    together: NDArray[np.float64] = (one * other).sum(axis=1)
    return np.divide(together, scale, out=np.full(len(scale), np.nan), where=scale > 0)


def heat_ssim(first: Tensor, second: Tensor) -> NDArray[np.float64]:
    """Structural similarity of two heats, each divided by its maximum.

    Args:
        first: Not negative, shape ``(B, 1, H, W)``, H and W at least 7.
        second: Same shape.

    Returns:
        Up to 1, shape ``(B,)``; NaN where one of the two has no heat.

    Raises:
        ValueError: The shapes differ.
    """
    found = np.full(len(first), np.nan)
    for row, pair in enumerate(zip(*_arrays(first, second), strict=True)):
        one, other = (heat[0] for heat in pair)
        if one.max() > 0 and other.max() > 0:
            found[row] = structural_similarity(one / one.max(), other / other.max(), data_range=1.0)
    return found


def _randomise(module: nn.Module) -> None:
    own = list(module.parameters(recurse=False))
    reset: Any = getattr(module, "reset_parameters", None)
    if not callable(reset):
        for parameter in own:
            _redraw(parameter)
        return
    devices = [tensor.device for tensor in own]
    device = devices[0] if devices else torch.device("cpu")
    module.to("cpu")  # so that a seed means the same on every device
    reset()
    module.to(device)


def _redraw(parameter: nn.Parameter) -> None:
    if parameter.is_floating_point() and parameter.numel():
        values = parameter.detach().double()
        drawn = torch.randn(parameter.shape, dtype=torch.float64).to(parameter.device)
        parameter.copy_(values.mean() + values.std(correction=0) * drawn)


def _arrays(first: Tensor, second: Tensor) -> list[NDArray[np.float64]]:
    if first.shape != second.shape or first.ndim != 4 or first.shape[1] != 1:
        raise ValueError(f"heats are {tuple(first.shape)} and {tuple(second.shape)}, expected two of (B, 1, H, W)")
    return [heat.detach().double().cpu().numpy() for heat in (first, second)]
