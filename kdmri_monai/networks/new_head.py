"""A trained network as the start for other classes: its body with the old weights, its head anew.

The head is what depends on the number of classes: the tensors whose first dimension differs between file and network.
Where the numbers are the same but the classes are others, it is every linear layer with K outputs.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike

from torch import Tensor, nn

from kdmri_monai.networks.key_map import some
from kdmri_monai.networks.weights import WeightsError, other_shapes, read_weights

logger = logging.getLogger(__name__)

MIN_SHARE = 0.5
"""A file that fills less than half of a network's parameters is no start of it, whatever is called the head."""


@dataclass(frozen=True)
class NewHead:
    """What became of the head.

    Attributes:
        names: Parameters and buffers of the head, as the network names them.
        kept: Whether they too were filled from the file.
        share: Share of the network's parameters, by elements, that were filled.
    """

    names: tuple[str, ...]
    kept: bool
    share: float


def load_pretrained(
    network: nn.Module,
    path: str | PathLike[str],
    num_classes: int,
    *,
    keep_head: bool = False,
    min_share: float = MIN_SHARE,
    role: str = "pretrained",
) -> NewHead:
    """Fill the body of a network from a file; its head stays as it was initialised, unless it is to be kept.

    Everything but the head must match by name and shape. Nothing is changed when the file is refused.

    Args:
        network: Filled in place; its head is freshly initialised.
        path: File as for ``read_weights``; it is never executed.
        num_classes: Classes K of the network.
        keep_head: Fill the head too, since the classes are the same.
        min_share: Share of the network's parameters, above 0 up to 1, that the file must fill.
        role: What the file is to the user, for messages.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: ``min_share`` is out of range.
        WeightsError: The file is damaged, would run code when opened, or belongs to another network; the head is to be
            kept and has another number of classes; no head is found; or less than ``min_share`` fits.
    """
    if not 0 < min_share <= 1:
        raise ValueError(f"min_share is {min_share}, allowed are shares above 0 up to 1")
    state, expected = read_weights(path, role), network.state_dict()
    differing = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    if differing and keep_head:
        told = some(other_shapes(state, expected))
        raise WeightsError(f"{role} {path}: its head is of another number of classes and cannot be kept: {told}")
    head = differing or _linear_heads(network, num_classes)
    _refuse_other_body(state, expected, head, num_classes, f"{role} {path}", type(network).__name__)
    filled = [name for name in expected if keep_head or name not in head]
    share = sum(expected[name].numel() for name in filled) / sum(value.numel() for value in expected.values())
    if share < min_share:
        raise WeightsError(
            f"{role} {path} fills {share:.1%} of the parameters of {type(network).__name__}, at least {min_share:.1%} "
            f"was asked for; new are {some(head)}"
        )
    network.load_state_dict({**expected, **{name: state[name] for name in filled}})
    logger.info("%s %s fills %.1f %%; %s: %s", role, path, 100 * share, "kept" if keep_head else "new", some(head))
    return NewHead(tuple(head), keep_head, share)


def _linear_heads(network: nn.Module, num_classes: int) -> list[str]:
    """Tensors of the linear layers with K outputs; empty where there is none."""
    layers = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == num_classes
    ]
    return [f"{layer}.{tensor}" for layer in layers for tensor in network.get_submodule(layer).state_dict()]


def _refuse_other_body(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    head: list[str],
    num_classes: int,
    origin: str,
    network: str,
) -> None:
    """Everything but the head must match, and the head may differ in its first dimension alone, the classes."""
    wrong = [f"missing {some(names)}" for names in [[name for name in expected if name not in state]] if names]
    wrong += [f"unexpected {some(names)}" for names in [[name for name in state if name not in expected]] if names]
    no_head = [
        name
        for name in head
        if name in state
        and (expected[name].shape[:1] != (num_classes,) or state[name].shape[1:] != expected[name].shape[1:])
    ]
    if no_head:
        shapes = other_shapes({name: state[name] for name in no_head}, expected)
        wrong.append(f"other shape {some(shapes or no_head)}")
    if wrong:
        raise WeightsError(
            f"{origin} holds the weights of another network than {network}: {'; '.join(wrong)}; the body must be the "
            "same, so give the network_def that it was trained with"
        )
    if not head:
        raise WeightsError(f"{origin}: {network} has no linear layer of {num_classes} outputs, so no head is found")
