"""Weights that somebody else has published, into a network of ours: renamed, counted, refused below a stated share."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any

from torch import Tensor, nn

from kdmri_monai.networks.key_map import KeyMapError, mapped_names, matching, some
from kdmri_monai.networks.weights import WeightsError, other_shapes, read_weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportRules:
    """How a file is laid over a network.

    Attributes:
        key_map: Names in the file to names of the network (``mapped_names``), after ``module.`` is taken off.
        min_match: Share, 0 to 1, of the network's tensors, and of their elements, that the file must fill.
        leave_out: Regular expressions over names of the network that keep their initial values, such as a head for
            another number of classes; they do not count for the shares.
        grey_stem: Sum the kernels of a first convolution of three input channels into one, as if the same grey image
            stood in all three.

    Raises:
        ValueError: ``min_match`` is not between 0 and 1.
    """

    key_map: Mapping[str, str | None] = field(default_factory=dict)
    min_match: float = 1.0
    leave_out: Sequence[str] = ()
    grey_stem: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.min_match <= 1:
            raise ValueError(f"min_match is {self.min_match}, allowed are shares above 0 up to 1")


@dataclass(frozen=True)
class ImportReport:
    """What a file gave to a network. Counters, such as the batches that batch normalisation has seen, do not count.

    Attributes:
        matched: How many tensors were filled.
        tensors: Share of the network's tensors that were filled, of those that were not left out.
        parameters: The same share by elements.
        missing: Names of the network that the file does not have.
        unexpected: Names of the file, as the key map left them, that the network does not have.
        left_out: Names of the network that kept their initial values because it was asked for.
        summed: The convolution whose input channels were summed; empty for none.
    """

    matched: int
    tensors: float
    parameters: float
    missing: list[str]
    unexpected: list[str]
    left_out: list[str]
    summed: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a record."""
        return asdict(self)


def import_weights(
    network: nn.Module, path: str | PathLike[str], rules: ImportRules | None = None, role: str = "checkpoint"
) -> ImportReport:
    """Fill a network with the weights of a file that names its tensors otherwise, or does not have all of them.

    What the file lacks keeps its initial values. Nothing is changed when the file is refused.

    Args:
        network: Filled in place.
        path: File as for ``read_weights``.
        rules: How; by default every tensor under its own name.
        role: What the file is to the user, for messages.

    Raises:
        FileNotFoundError: There is no such file.
        WeightsError: The file is damaged or would run code when opened; a rule does not fit its names; a tensor has
            another shape; or the file fills less than ``min_match`` of the network.
    """
    rules = rules or ImportRules()
    expected = network.state_dict()
    try:
        state, left_out = _laid_over(read_weights(path, role), expected, rules)
        state, summed = _with_grey_stem(state, expected) if rules.grey_stem else (state, "")
    except KeyMapError as error:
        raise WeightsError(f"{role} {path}: {error}") from error
    shapes = other_shapes(state, expected)
    if shapes:
        raise WeightsError(
            f"{role} {path} has tensors of another shape than {type(network).__name__}: {some(shapes)}; where that is "
            "the head of another set of classes, leave it out by name; where it is a first convolution for colour "
            "images, ask for grey_stem"
        )
    report = _report(state, expected, left_out, summed)
    told = _in_words(report, type(network).__name__)
    if min(report.tensors, report.parameters) < rules.min_match:
        raise WeightsError(f"{role} {path} {told}; at least {rules.min_match:.1%} of both was asked for")
    network.load_state_dict({**expected, **{name: state[name] for name in expected if name in state}})
    logger.info("%s %s %s", role, path, told)
    return report


def _laid_over(
    state: dict[str, Tensor], expected: Mapping[str, Tensor], rules: ImportRules
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of the file by their new names, without those that are to be left out, and the names of those.

    Raises:
        KeyMapError: A rule does not fit the names, or the file and the network have none in common.
    """
    renamed = {new: state[name] for new, name in mapped_names(state, rules.key_map).items()}
    if not renamed.keys() & expected.keys():
        raise KeyMapError(
            f"no tensor of the file has a name of the network: the file has {some(list(renamed))}, the network "
            f"{some(list(expected))}; a key map can rename them"
        )
    left_out = matching(list(expected), rules.leave_out)
    return {name: value for name, value in renamed.items() if name not in left_out}, left_out


def _with_grey_stem(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The one convolution whose kernels have three input channels where the network has one, summed over them.

    Raises:
        KeyMapError: There is not exactly one.
    """
    stems = [
        name
        for name, wanted in expected.items()
        if name in state
        and wanted.ndim > 2
        and wanted.shape[1] == 1
        and tuple(state[name].shape) == (wanted.shape[0], 3, *wanted.shape[2:])
    ]
    if len(stems) != 1:
        raise KeyMapError(
            f"grey_stem wants one convolution with three input channels in the file and one in the network; there are "
            f"{len(stems)}{': ' + some(stems) if stems else ''}"
        )
    return {**state, stems[0]: state[stems[0]].sum(dim=1, keepdim=True)}, stems[0]


def _report(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], left_out: list[str], summed: str
) -> ImportReport:
    wanted = [name for name, value in expected.items() if value.is_floating_point() and name not in left_out]
    filled = [name for name in wanted if name in state]

    def size(name: str) -> int:
        return expected[name].numel()

    return ImportReport(
        matched=len(filled),
        tensors=len(filled) / max(1, len(wanted)),
        parameters=sum(map(size, filled)) / max(1, sum(map(size, wanted))),
        missing=[name for name in wanted if name not in state],
        unexpected=[name for name in state if name not in expected],
        left_out=left_out,
        summed=summed,
    )


def _in_words(report: ImportReport, network: str) -> str:
    parts = [
        f"fills {report.matched} tensors of {network}: {report.tensors:.1%} of the tensors and {report.parameters:.1%} "
        "of the parameters"
    ]
    named = (("missing", report.missing), ("unexpected", report.unexpected), ("left out", report.left_out))
    parts += [f"{kind} {some(names)}" for kind, names in named if names]
    if report.summed:
        parts.append(f"input channels of {report.summed} summed")
    return "; ".join(parts)
