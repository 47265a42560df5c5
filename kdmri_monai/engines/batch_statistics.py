"""Batch normalisation where a batch is shared out among processes."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from kdmri_monai.engines.process_average import average_tensors
from kdmri_monai.engines.processes import several_processes


def average_statistics(*modules: nn.Module) -> None:
    """Put the mean over processes in the place of the running means and variances of all normalisation layers.

    Every process normalises by its own share of a batch; what they keep for validation is then the same for all. The
    variance kept is that within the shares.
    """
    kept = [
        statistic
        for module in modules
        for layer in module.modules()
        if isinstance(layer, _NormBase) and not isinstance(layer, nn.SyncBatchNorm)
        for statistic in (layer.running_mean, layer.running_var)
        if statistic is not None
    ]
    if kept:
        average_tensors(kept)


def synchronise_batch_norm(network: nn.Module, device: str | torch.device) -> None:
    """Have every batch normalisation of a network use the whole batch of all processes, by PyTorch's ``SyncBatchNorm``.

    Names and values of the weights stay. Call it before anything reads the network's layers. One process on its own
    has the whole batch, so nothing happens.

    Args:
        network: Changed in place.
        device: Where it computes.

    Raises:
        ValueError: The device is not a GPU, which ``SyncBatchNorm`` asks for; or the network is itself one such layer.
    """
    if not several_processes():
        return
    if torch.device(device).type != "cuda":
        raise ValueError(
            f"sync_batch_norm wants GPUs, the device is {device}: leave it off, or use group normalisation"
        )
    if nn.SyncBatchNorm.convert_sync_batchnorm(network) is not network:
        raise ValueError("the network is a batch normalisation and nothing else, so it cannot be changed in place")
