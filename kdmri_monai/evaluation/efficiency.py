"""What a network costs: parameters, arithmetic, bytes, time."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kdmri_monai.evaluation.latency import latency
from kdmri_monai.networks.dry_run import evaluating


def efficiency(
    network: nn.Module, image_shape: Sequence[int], file: Path | None = None, repeats: int = 50
) -> dict[str, Any]:
    """Size, arithmetic and speed of a network as it would be deployed.

    Args:
        network: Everything in it counts, as a geometry head.
        image_shape: Channels, rows and columns of one image.
        file: Its weights, for their size on the disk.
        repeats: Calls of every timing at most.

    Returns:
        The section ``efficiency``: ``parameters``; ``macs``, see ``multiply_accumulates``; ``state_bytes``, see
        ``state_bytes``; ``file_bytes``, ``None`` without a file; ``image_shape``; ``latency``, a list of what
        ``latency`` gives: one image on one thread of the CPU, one image and 32 on all of its threads, and on CUDA where
        there is one.
    """
    every = os.cpu_count() or 1
    timings = [("cpu", 1, 1), *([("cpu", every, 1)] if every > 1 else []), ("cpu", every, 32)]
    if torch.cuda.is_available():
        timings += [("cuda", None, 1), ("cuda", None, 32)]  # type: ignore[list-item]
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": multiply_accumulates(network, image_shape),
        "state_bytes": state_bytes(network),
        "file_bytes": None if file is None else file.stat().st_size,
        "image_shape": list(image_shape),
        "latency": [latency(network, image_shape, *timing, repeats) for timing in timings],
    }


def multiply_accumulates(network: nn.Module, image_shape: Sequence[int]) -> int:
    """Multiply-accumulates of one image in matrix products, convolutions and attention.

    These are the operations that ``torch.utils.flop_counter`` counts, two operations each; sums, norms, activations and
    pooling are not among them. Attention is counted as its matrix products, without a fused kernel: the counter does
    not know those of the CPU and would leave them out.

    Args:
        network: Masks that it wants are zeros.
        image_shape: Channels, rows and columns of one image.
    """
    like = next(network.parameters(), torch.zeros(()))
    image = torch.zeros(1, *image_shape, device=like.device)
    privileged = {
        key: torch.zeros(1, dtype=torch.bool, device=like.device) if key.startswith("has_") else torch.zeros_like(image)
        for key in getattr(network, "privileged_keys", ())
    }
    with evaluating(network), torch.no_grad(), _plain_attention(), FlopCounterMode(display=False) as counter:
        network(image, **privileged)
    return counter.get_total_flops() // 2


def state_bytes(network: nn.Module) -> int:
    """Bytes of all parameters and buffers of the state dict."""
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as matrix products inside the block: neither fused kernels nor the fast path of whole layers."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
