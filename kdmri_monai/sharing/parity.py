"""Whether every form of a network says the same."""

import io
from collections.abc import Callable, Mapping
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from kdmri_monai.sharing.exports import INPUT, ONNX, PROGRAM, SAFETENSORS, SCRIPT, STATE

TOLERANCE = 1e-5
"""Largest difference of a probability between two forms."""

BATCHES = (1, 2, 5)
"""Sizes of the batches that every form is asked."""

Answer = Callable[[Tensor], Tensor]


class ParityError(RuntimeError):
    """A form that says something else than the network that it was made of."""


def parity(
    network: nn.Module, forms: Mapping[str, bytes], images: Tensor, temperature: float = 1.0
) -> dict[str, float]:
    """Largest difference of a probability between the network and each form, over batches of several sizes.

    Args:
        network: What the forms were made of, on the CPU, in eval mode.
        forms: From ``export_forms``.
        images: Such as the network takes, at least ``max(BATCHES)`` of them, shape ``(B, C, *spatial)``.
        temperature: By what logits are divided.

    Returns:
        Difference by form.

    Raises:
        ValueError: Too few images.
    """
    if len(images) < max(BATCHES):
        raise ValueError(f"{len(images)} images, at least {max(BATCHES)} are needed")
    batches = [images[:size] for size in BATCHES]
    expected = [_probabilities(_answered(network)(batch), temperature) for batch in batches]
    found = {}
    for name, content in forms.items():
        answer = opened(name, content, network)
        gaps = [
            float((_probabilities(answer(batch), temperature) - one).abs().max())
            for batch, one in zip(batches, expected, strict=True)
        ]
        found[name] = max(gaps)
    return found


def check_parity(found: Mapping[str, float], tolerance: float = TOLERANCE) -> None:
    """Refuse forms that differ.

    Args:
        found: From ``parity``.
        tolerance: Largest difference of a probability.

    Raises:
        ParityError: A form differs by more, or gives something that is no number.
    """
    bad = [f"{name} by {gap:.1e}" for name, gap in found.items() if not gap <= tolerance]
    if bad:
        raise ParityError(f"the forms differ from the network: {', '.join(bad)}; at most {tolerance:.0e} is allowed")


def opened(name: str, content: bytes, network: nn.Module) -> Answer:
    """From images to logits by one form.

    Args:
        name: One of ``exports.FORMS``.
        content: The form.
        network: The architecture, for the forms that are weights alone; it is not changed.
    """
    readers: dict[str, Callable[[], Answer]] = {
        STATE: lambda: _filled(network, torch.load(io.BytesIO(content), weights_only=True)),
        SAFETENSORS: lambda: _filled(network, _safetensors(content)),
        SCRIPT: lambda: _answered(torch.jit.load(io.BytesIO(content), map_location="cpu")),
        ONNX: lambda: _onnx(content),
        PROGRAM: lambda: _answered(torch.export.load(io.BytesIO(content)).module()),
    }
    return readers[name]()


def _probabilities(logits: Tensor, temperature: float) -> Tensor:
    return (logits.double() / temperature).softmax(dim=1)


def _filled(network: nn.Module, state: Mapping[str, Tensor]) -> Answer:
    """A copy of the network whose weights were lost and came from the form alone."""
    copy = deepcopy(network)
    with torch.no_grad():
        for value in copy.state_dict().values():
            value.zero_()
    copy.load_state_dict(dict(state))
    return _answered(copy)


def _answered(network: nn.Module) -> Answer:
    def answer(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = network(images)
        return logits

    return answer


def _safetensors(content: bytes) -> dict[str, Tensor]:
    from safetensors.torch import load

    state: dict[str, Tensor] = load(content)
    return state


def _onnx(content: bytes) -> Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def answer(images: Tensor) -> Tensor:
        (logits,) = session.run(None, {INPUT: images.numpy()})
        return torch.from_numpy(np.asarray(logits))

    return answer
