"""Trust profiles: fitted on a run while its data are there, kept beside the weights, read wherever they go."""

import logging
from pathlib import Path

import torch

from kdmri_monai.evaluation.subject import file_digest
from kdmri_monai.sharing.trust_fit import fit_trust
from kdmri_monai.sharing.trust_profile import FILE, TrustFileError, TrustProfile
from kdmri_monai.sharing.trust_reasons import Reason, abstains, reasons

__all__ = ["FILE", "Reason", "TrustFileError", "TrustProfile", "abstains", "fit_trust", "reasons", "run_trust"]

logger = logging.getLogger(__name__)


def run_trust(run: Path, device: torch.device | str = "cpu") -> tuple[TrustProfile | None, str]:
    """The profile of a run: ``trust.safetensors`` in its folder, or fitted now and written there.

    A file of other weights is fitted again.

    Args:
        run: Folder of a run with ``model.pt``.
        device: Where to compute.

    Returns:
        The profile, and where it comes from; ``None`` and why where it can neither be read nor fitted.
    """
    path = run / FILE
    try:
        if path.is_file():
            found = TrustProfile.load(path)
            if found.weights_sha256 == file_digest(run / "model.pt"):
                return found, str(path)
        logger.info("%s: comparing training with validation slices, once", run)
        found = fit_trust(run, device)
        found.save(path)
    except (ValueError, OSError) as error:
        return None, " ".join(str(error).split())
    return found, str(path)
