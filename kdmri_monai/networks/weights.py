"""Weights of a network from a file, never executing what the file holds."""

import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_SHOWN = 4


class WeightsError(ValueError):
    """A file that holds no weights, or those of another network."""


def load_weights(network: nn.Module, path: str | PathLike[str], role: str = "checkpoint") -> nn.Module:
    """Fill a network with the weights of a state dict file; every name and shape must match.

    Args:
        network: Filled in place.
        path: File written by ``torch.save(network.state_dict(), path)``; a mapping with that under ``model`` or
            ``state_dict`` is accepted too.
        role: What the file is to the user, for messages, e.g. ``teacher_ckpt``.

    Returns:
        The same network.

    Raises:
        FileNotFoundError: There is no such file.
        WeightsError: The file is damaged, would run code when opened, or belongs to another network.
    """
    state = _read_state(Path(path), role)
    expected = network.state_dict()
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    if missing or unexpected or shapes:
        parts = (("missing", missing), ("unexpected", unexpected), ("other shape", shapes))
        told = "; ".join(f"{kind} {_few(names)}" for kind, names in parts if names)
        raise WeightsError(f"{role} {path} holds the weights of another network than {type(network).__name__}: {told}")
    network.load_state_dict(state)
    return network


def _read_state(path: Path, role: str) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{role}: there is no file {path}")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise WeightsError(f"{role} {path} cannot be read as weights: {str(error).splitlines()[0]}") from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{role} {path} holds {type(content).__name__}, not a state dict of tensors")
    return content


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
