"""How long a network takes: wall-clock time of one call, after a warm-up, with the number of threads stated."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdmri_monai.networks.dry_run import evaluating

WARM_UP = 5
REPEATS = 50
FEWEST = 10
"""Repeats that are done however long they take, so that a 95th percentile is not that of one call."""
LONGEST = 10.0
"""Seconds of warm-up and repeats after which, beyond ``FEWEST``, no further repeat is begun."""


def latency(
    network: nn.Module,
    image_shape: Sequence[int],
    device: torch.device | str = "cpu",
    threads: int | None = 1,
    batch: int = 1,
    repeats: int = REPEATS,
) -> dict[str, Any]:
    """Time of one call in eval mode and without gradient, float32.

    Args:
        network: Is moved to ``device`` and back. Masks that it wants are zeros.
        image_shape: Channels, rows and columns of one image.
        device: ``cpu`` or ``cuda``; on the latter every call is waited for.
        threads: Threads of one operation on the CPU, as they were afterwards; ``None`` leaves them.
        batch: Images a call.
        repeats: Calls at most; fewer, but not fewer than ten, where they take longer than ten seconds together.

    Returns:
        ``device``, ``threads`` (``None`` on CUDA), ``batch``, ``p50_ms`` and ``p95_ms`` of a call, ``repeats``.

    Raises:
        ValueError: A number below 1.
    """
    if min(batch, repeats, 1 if threads is None else threads) < 1:
        raise ValueError(f"batch is {batch}, repeats {repeats}, threads {threads}: at least 1 of each is needed")
    device = torch.device(device)
    home = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
    with _threads(threads if device.type == "cpu" else None) as used, evaluating(network), torch.inference_mode():
        network.to(device)
        try:
            inputs = _inputs(network, image_shape, device, batch)
            seconds = list(_timed(network, inputs, device, repeats))
        finally:
            network.to(home)
    milliseconds = 1000 * np.array(seconds)
    return {
        "device": device.type,
        "threads": used if device.type == "cpu" else None,
        "batch": batch,
        "p50_ms": float(np.quantile(milliseconds, 0.5)),
        "p95_ms": float(np.quantile(milliseconds, 0.95)),
        "repeats": len(seconds),
    }


def _inputs(
    network: nn.Module, image_shape: Sequence[int], device: torch.device, batch: int
) -> tuple[Tensor, dict[str, Tensor]]:
    image = torch.rand(batch, *image_shape, generator=torch.Generator().manual_seed(0)).to(device)
    zeros = {
        key: torch.zeros(batch, dtype=torch.bool, device=device) if key.startswith("has_") else torch.zeros_like(image)
        for key in getattr(network, "privileged_keys", ())
    }
    return image, zeros


def _timed(
    network: nn.Module, inputs: tuple[Tensor, dict[str, Tensor]], device: torch.device, repeats: int
) -> Iterator[float]:
    image, privileged = inputs
    began = time.perf_counter()
    for number in range(WARM_UP + repeats):
        start = time.perf_counter()
        network(image, **privileged)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        if number >= WARM_UP:
            yield now - start
            if number + 1 >= WARM_UP + FEWEST and now - began > LONGEST:
                return


@contextmanager
def _threads(number: int | None) -> Iterator[int]:
    """So many threads inside the block, as many as before afterwards."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
