"""The student of a packed bundle, opened only after the audit has cleared what would run.

Of the bundle's ``configs/inference.json`` four things are built: network, preprocessing, temperature and classes. Its
evaluator, handlers and expressions that these do not refer to are left alone.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.transforms import Compose, LoadImage, LoadImaged
from torch import nn

from kdmri_monai.data.json_object import read_json_object
from kdmri_monai.engines.explain import first_cause
from kdmri_monai.networks.weights import load_weights
from kdmri_monai.sharing.trust_profile import FILE, TrustProfile

CONFIG = "configs/inference.json"
WEIGHTS = "models/model.pt"
SHOWN = 3
"""How many findings of an audit a refusal names."""


class UntrustedBundleError(ValueError):
    """A bundle that the audit does not call safe, opened by somebody who did not say that its maker is known."""


@dataclass(frozen=True, eq=False)
class PackedStudent:
    """A student that came in a bundle.

    Attributes:
        name: Of the bundle.
        network: Filled, in eval mode, on the CPU; gives logits ``(B, K)``.
        preprocessing: From ``{"image": (rows, columns)}``, the picture as it came, to ``{"image": (1, H, W)}``.
        temperature: By what logits are divided before softmax.
        classes: Names of the K classes.
        trust: What its training data looked like; ``None`` where the bundle does not say.
    """

    name: str
    network: nn.Module
    preprocessing: Compose
    temperature: float
    classes: tuple[str, ...]
    trust: TrustProfile | None


def is_packed(path: str | PathLike[str]) -> bool:
    """Whether something looks like a packed bundle, zip or folder; a run folder has no ``configs``."""
    path = Path(path)
    return path.is_file() or (path / CONFIG).is_file()


def open_packed(path: str | PathLike[str], trusted: bool = False) -> PackedStudent:
    """Opens a packed bundle, zip or folder.

    It is audited first. What is not safe is refused; ``trusted`` opens it nevertheless, and then whatever its
    configuration says is run. Weights are read without executing anything in both cases.

    Args:
        path: ``NAME.zip``, or the folder that it was unpacked to.
        trusted: The maker is known.

    Raises:
        FileNotFoundError: There is no such bundle, or a file of it is missing.
        UntrustedBundleError: The audit does not call it safe.
        ValueError: It is no packed bundle, or its parts do not fit.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no bundle {path}")
    if not trusted:
        _refuse_unsafe(path)
    if path.is_dir():
        return _student(path, path.resolve().name)
    from kdmri_monai.sharing.safe_archive import unpack

    with tempfile.TemporaryDirectory(prefix="kdmri-") as folder:
        root = unpack(path, Path(folder))
        return _student(root, root.name)


def _refuse_unsafe(path: Path) -> None:
    from kdmri_monai.sharing.audit import audit
    from kdmri_monai.sharing.audit_findings import DANGER

    report = audit(path)
    if report.safe:
        return
    told = [
        f"{finding.file or finding.group} {finding.id} {finding.text}: {finding.reason}"
        for finding in report.findings
        if finding.level == DANGER
    ]
    shown = "; ".join(told[:SHOWN]) + (f"; and {len(told) - SHOWN} more" if len(told) > SHOWN else "")
    raise UntrustedBundleError(
        f"{path} is refused, the audit does not call it safe: {shown}. kdmri audit {path} tells all; where you know "
        "its maker, --trust opens it"
    )


def _student(root: Path, name: str) -> PackedStudent:
    config = root / CONFIG
    if not config.is_file():
        raise FileNotFoundError(f"{name} has no {CONFIG}: it is no packed bundle")
    parser = ConfigParser(read_json_object(config))
    parser["bundle_root"] = str(root)
    network = _built(parser, "network_def", config)
    if not isinstance(network, nn.Module):
        raise ValueError(f"network_def of {config} gives {type(network).__name__}, which is no network")
    if (root / WEIGHTS).is_file():
        load_weights(network, root / WEIGHTS, WEIGHTS)
    classes = tuple(str(one) for one in _built(parser, "classes", config))
    temperature = float(_built(parser, "temperature", config))
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature of {config} is {temperature}, a positive number is needed")
    profile = TrustProfile.load(root / "models" / FILE) if (root / "models" / FILE).is_file() else None
    if profile is not None and profile.classes != classes:
        raise ValueError(f"{FILE} of {name} is of classes {', '.join(profile.classes)}, the bundle of {classes}")
    steps = _without_loading(_built(parser, "preprocessing", config))
    return PackedStudent(name, network.eval(), steps, temperature, classes, profile)


def _built(parser: ConfigParser, name: str, config: Path) -> Any:
    """What an id of the configuration becomes; MONAI's errors with their first cause."""
    if name not in parser:
        raise ValueError(f"{config} has no id {name!r}: it is not the configuration of a packed student")
    try:
        return parser.get_parsed_content(name)
    except (RuntimeError, KeyError, ValueError, TypeError, ImportError) as error:
        raise ValueError(f"{name} of {config}: {' '.join(str(first_cause(error)).split())}") from error


def _without_loading(preprocessing: Any) -> Compose:
    """The steps that work on ``image``, flattened, without those that read files."""
    if not isinstance(preprocessing, Compose):
        raise ValueError(f"preprocessing gives {type(preprocessing).__name__}, a Compose is expected")
    steps: Sequence[Any] = preprocessing.flatten().transforms
    return Compose(
        [
            step
            for step in steps
            if not isinstance(step, (LoadImage, LoadImaged)) and "image" in getattr(step, "keys", ("image",))
        ]
    )
