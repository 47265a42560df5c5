"""Means and agreements over the processes of a run, each in one message.

Gradients are averaged once before the optimiser's step, and not layer by layer while the backward pass runs, as
``DistributedDataParallel`` does. Student and distiller need no wrapper then: the student stays bare, terms may read
any layer and may have no weight yet, layers may go unused, and where the gradients of batches are added up only the sum
is sent. The price is that sending does not overlap with computing.
"""

from collections.abc import Iterable, Sequence

import ignite.distributed as idist
import torch
import torch.distributed as dist
from torch import Tensor, nn


def average_tensors(tensors: Sequence[Tensor]) -> None:
    """Put the mean over all processes in the place of every tensor.

    Args:
        tensors: As many and of the same shapes, types and devices in every process, in the same order.
    """
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    for group in groups.values():
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in group])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for tensor, mean in zip(group, flat.split([tensor.numel() for tensor in group]), strict=True):
            tensor.detach().copy_(mean.view(tensor.shape))


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Put the mean over all processes in the place of every gradient.

    A parameter without gradient in one process counts there as zero. Where no process has one, there is none
    afterwards, so that the optimiser leaves the parameter alone, as it would in a single process.

    Args:
        parameters: The same ones in every process, in the same order.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    if not learning:
        return
    given = [parameter.grad is not None for parameter in learning]
    for parameter in learning:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    shares = torch.tensor(given, dtype=torch.float32, device=learning[0].device)
    average_tensors([shares, *(parameter.grad for parameter in learning if parameter.grad is not None)])
    if all(given):
        return  # without a look at the shares, which would wait for the device
    for parameter, share in zip(learning, shares.tolist(), strict=True):
        if share == 0:
            parameter.grad = None


def loss_share(samples: int, device: torch.device) -> Tensor:
    """Factor of this process's mean loss, so that the mean over processes is the mean over all samples.

    It is 1 where all processes have equally many samples.

    Args:
        samples: Of this process in this step.
        device: Where the loss is.
    """
    mine = torch.full((), samples, dtype=torch.float32, device=device)
    everyone = mine.clone()
    dist.all_reduce(everyone)
    return mine * dist.get_world_size() / everyone


def same_everywhere(module: nn.Module) -> None:
    """Give every process the parameters and buffers that the first one has."""
    state = [tensor.detach() for tensor in module.state_dict().values()]
    if not state:
        return
    # as bytes, so that one message has them all and no backend minds the type
    flat = torch.cat([tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in state])
    dist.broadcast(flat, src=0)
    for tensor, part in zip(
        state, flat.split([tensor.numel() * tensor.element_size() for tensor in state]), strict=True
    ):
        tensor.copy_(part.clone().view(tensor.dtype).view(tensor.shape))


def share_of_true(flag: bool | Tensor) -> float:
    """In what share of the processes a flag is true, 0 to 1."""
    if idist.get_world_size() == 1:
        return float(flag)
    device = flag.device if isinstance(flag, Tensor) else idist.device()
    share = torch.as_tensor(flag, device=device).float()
    dist.all_reduce(share)
    return float(share) / dist.get_world_size()
