"""How near a step comes to the machine: its arithmetic over the best that a large matrix product reaches."""

import time

import torch
from step_by_hand import Pair
from torch.utils.flop_counter import FlopCounterMode


def step_flops(pair: Pair, batch_size: int, image_size: int, device: str) -> int:
    """Operations of one step, two for each multiply-accumulate: teacher forward, student and fusion both ways."""
    image = torch.rand(batch_size, 1, image_size, image_size, device=device)
    label = torch.zeros(batch_size, dtype=torch.long, device=device)
    with FlopCounterMode(display=False) as counter:
        pair.loss(image, label).backward()
    pair.optimizer.zero_grad()
    return int(counter.get_total_flops())


def peak_flops(device: str, dtype: torch.dtype, side: int | None = None, repeats: int = 5) -> float:
    """Operations a second of the fastest of some products of two square matrices."""
    side = side or (8192 if torch.device(device).type == "cuda" else 2048)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 1):
        began = time.perf_counter()
        left @ right
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best
