"""The processes of a run: torchrun starts several, they join, and some things only the first one does."""

import logging
import os
from collections.abc import Callable

import ignite.distributed as idist
import torch
import torch.distributed as dist

logger = logging.getLogger(__name__)


class OtherProcessError(RuntimeError):
    """The first process failed in what it does for all; its message is part of this one."""


def process_device() -> str:
    """Device of this process: its own GPU where there are any, else the CPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def join_processes(device: str | torch.device) -> None:
    """Meet the other processes that torchrun has started, by NCCL on GPUs and by gloo on the CPU.

    All but the first one log warnings and errors alone from here on. Without torchrun, and where the processes have met
    already, nothing happens: one process is a run like any other.

    Args:
        device: Where this process computes, as ``process_device`` says or ``"cpu"``.

    Raises:
        ValueError: Several processes are to share one GPU, there are fewer GPUs than processes, or the device is
            neither a GPU nor the CPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return
    device = torch.device(device)
    _refuse_shared(device, own=int(os.environ.get("LOCAL_RANK", "0")))
    idist.initialize("nccl" if device.type == "cuda" else "gloo")
    if idist.get_rank() > 0:
        logging.disable(logging.INFO)
    logger.info("%d processes have met by %s", idist.get_world_size(), idist.backend())


def leave_processes() -> None:
    """Part from the other processes, if there are any."""
    if dist.is_initialized():
        idist.finalize()
        logging.disable(logging.NOTSET)


def several_processes() -> bool:
    """Whether this process is one of several that have joined."""
    return idist.get_world_size() > 1


def is_first_process() -> bool:
    """Whether this process is the one that writes; a process on its own is."""
    return idist.get_rank() == 0


def once(work: Callable[[], None]) -> None:
    """Have the first process do something for all, while the others wait.

    Args:
        work: What is done; it must not wait for other processes.

    Raises:
        OtherProcessError: In all but the first process, where it failed there; the first raises what ``work`` raised.
    """
    if not several_processes():
        work()
        return
    if not is_first_process():
        failure = _told(None)
        if failure:
            raise OtherProcessError(f"the first process failed: {failure}")
        return
    try:
        work()
    except Exception as error:
        _told(f"{type(error).__name__}: {error}")
        raise
    _told("")


def _refuse_shared(device: torch.device, own: int) -> None:
    if device.type not in ("cuda", "cpu"):
        raise ValueError(f"several processes compute on GPUs of CUDA or on the CPU, not on {device}")
    if device.type == "cpu":
        return
    if device.index not in (None, own):
        raise ValueError(
            f"device is {device} in process {own} of this machine: leave --device away, every process takes its own GPU"
        )
    if own >= torch.cuda.device_count():
        raise ValueError(
            f"this machine has {torch.cuda.device_count()} GPUs, which is too few: --nproc_per_node says how many "
            "processes it starts, one a GPU"
        )


def _told(message: str | None) -> str:
    """What the first process says to all."""
    told: list[str | None] = [message]
    dist.broadcast_object_list(told, src=0)
    return told[0] or ""
