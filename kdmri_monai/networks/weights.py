"""Weights of a network from a file, never executing what the file holds."""

import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kdmri_monai.networks.key_map import some, unwrapped

SAFETENSORS = ".safetensors"


class WeightsError(ValueError):
    """A file that holds no weights, or those of another network."""


def load_weights(network: nn.Module, path: str | PathLike[str], role: str = "checkpoint") -> nn.Module:
    """Fill a network with the weights of a state dict file; every name and shape must match.

    ``import_weights`` is for files whose names are others.

    Args:
        network: Filled in place.
        path: File as for ``read_weights``.
        role: What the file is to the user, for messages, e.g. ``teacher_ckpt``.

    Returns:
        The same network.

    Raises:
        FileNotFoundError: There is no such file.
        WeightsError: The file is damaged, would run code when opened, or belongs to another network.
    """
    state = read_weights(path, role)
    expected = network.state_dict()
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    shapes = other_shapes(state, expected)
    if missing or unexpected or shapes:
        parts = (("missing", missing), ("unexpected", unexpected), ("other shape", shapes))
        told = "; ".join(f"{kind} {some(names)}" for kind, names in parts if names)
        raise WeightsError(f"{role} {path} holds the weights of another network than {type(network).__name__}: {told}")
    network.load_state_dict(state)
    return network


def read_weights(path: str | PathLike[str], role: str = "checkpoint") -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    Args:
        path: ``.safetensors``, or what ``torch.save(network.state_dict(), path)`` writes; a mapping with that under
            ``model`` or ``state_dict`` is accepted too, and names that all begin with ``module.`` lose it.
        role: What the file is to the user, for messages.

    Raises:
        FileNotFoundError: There is no such file.
        WeightsError: The file is damaged, would run code when opened, or holds something else than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{role}: there is no file {path}")
    try:
        content: Any = load_file(path) if path.suffix == SAFETENSORS else _unpickled(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise WeightsError(f"{role} {path} cannot be read as weights: {str(error).splitlines()[0]}") from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{role} {path} holds {type(content).__name__}, not a state dict of tensors")
    return {new: content[name] for new, name in unwrapped(content).items()}


def other_shapes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Names that both have with different shapes, with the two shapes in words."""
    return [
        f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]


def _unpickled(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)
