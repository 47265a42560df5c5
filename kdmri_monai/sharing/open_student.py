"""A student that is ready for pictures, from a run folder or from a packed bundle, and how it may be judged."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdmri_monai.engines.configured import image_steps
from kdmri_monai.engines.explain import first_cause
from kdmri_monai.engines.run_config import run_config
from kdmri_monai.engines.run_student import STORE_SIZE, RunStudent, run_student
from kdmri_monai.evaluation.prediction_pictures import check_takes_image_alone
from kdmri_monai.evaluation.run_temperature import RunTemperature
from kdmri_monai.networks.weights import load_weights
from kdmri_monai.sharing.packed_student import is_packed, open_packed
from kdmri_monai.sharing.trust import TrustProfile, run_trust


@dataclass(frozen=True, eq=False)
class OpenStudent:
    """A student and what is needed to say how far it may be trusted.

    Attributes:
        origin: Run folder or bundle, as the user named it.
        network: Filled, on ``device``, in eval mode.
        steps: From ``{"image": pixels}`` to what the network takes.
        as_it_came: Whether the steps take a picture as it came, as those of a bundle do, or as the store holds it.
        temperature: By what logits are divided before softmax.
        calibration: Where the temperature comes from, for people.
        classes: Names of the K classes.
        store_size: Side of stored pictures, pixels.
        profile: What the training data looked like; ``None`` where nobody knows.
        profile_origin: Where it comes from, or why there is none, for people.
        device: Where the network is.
    """

    origin: str
    network: nn.Module
    steps: Any
    as_it_came: bool
    temperature: float
    calibration: str
    classes: tuple[str, ...]
    store_size: int
    profile: TrustProfile | None
    profile_origin: str
    device: torch.device


def open_student(path: Path, device: torch.device, *, trusted: bool = False, size: int | None = None) -> OpenStudent:
    """Opens a packed bundle, after its audit, or a run folder.

    Args:
        path: ``NAME.zip``, an unpacked bundle, or a run folder; what the configuration of a run names is run.
        device: Where the network goes.
        trusted: A bundle is opened even where the audit does not call it safe.
        size: Side of stored pictures, pixels; that of the training by default.

    Raises:
        FileNotFoundError: There is no such thing, or a file is missing.
        ValueError: It cannot be used, see ``open_packed`` and ``run_student``; a teacher that wants masks.
    """
    return _packed(path, device, trusted, size) if is_packed(path) else _run(path, device, size)


def _packed(path: Path, device: torch.device, trusted: bool, size: int | None) -> OpenStudent:
    packed = open_packed(path, trusted)
    profile = packed.trust
    known = STORE_SIZE if profile is None else profile.store_size
    told = "the bundle has no models/trust.safetensors" if profile is None else "models/trust.safetensors"
    return OpenStudent(
        origin=str(path),
        network=packed.network.to(device),
        steps=packed.preprocessing,
        as_it_came=True,
        temperature=packed.temperature,
        calibration="of the bundle",
        classes=packed.classes,
        store_size=size or known,
        profile=profile,
        profile_origin=told,
        device=device,
    )


def _run(folder: Path, device: torch.device, size: int | None) -> OpenStudent:
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no run folder {folder}, and no bundle of that name")
    student = _run_student(folder, size)
    check_takes_image_alone(student.network)
    load_weights(student.network, folder / "model.pt")
    temperature = RunTemperature(folder, device=device)
    value = temperature.value  # the validation patients may be asked here
    profile, told = run_trust(folder, device)
    return OpenStudent(
        origin=str(folder),
        network=student.network.to(device).eval(),
        steps=image_steps(student.config, student.image_size),
        as_it_came=False,
        temperature=value,
        calibration=temperature.origin,
        classes=student.classes,
        store_size=student.store_size,
        profile=profile,
        profile_origin=told,
        device=device,
    )


def _run_student(folder: Path, size: int | None) -> RunStudent:
    run_config(folder)  # says which file is missing
    try:
        return run_student(folder, (), store_size=size)
    except (RuntimeError, KeyError, TypeError, ImportError) as error:
        raise ValueError(f"{folder}: {' '.join(str(first_cause(error)).split())}") from error
