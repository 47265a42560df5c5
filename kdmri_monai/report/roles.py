"""Who teaches whom: the role of every arm, read off the records of its runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from kdmri_monai.evaluation.arms import Arm
from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.run_folder import RunFolder

Role = Literal["teacher", "baseline", "distilled", "other"]


def roles_of(arms: Sequence[Arm], reference: str | None = None) -> list[tuple[Arm, Role]]:
    """Arms with their roles, in the order given.

    Args:
        arms: Arms of runs.
        reference: Name of the baseline; by default the arm named ``baseline``, else the first one that was trained
            without a teacher and teaches none.

    Raises:
        ComparisonError: No arm is named ``reference``.
    """
    taught = {arm.name for arm in arms if any(_teachers(run) for run in arm.runs)}
    checkpoints = [Path(str(ckpt)) for arm in arms for run in arm.runs for ckpt in _teachers(run)]
    teaching = {arm.name for arm in arms if any(_teaches(run, checkpoints) for run in arm.runs)}
    alone = [arm.name for arm in arms if arm.name not in teaching | taught]
    if reference is not None and reference not in {arm.name for arm in arms}:
        names = ", ".join(arm.name for arm in arms)
        raise ComparisonError(f"no arm is named {reference!r}; the arms are {names}")
    named = next((name for name in alone if name.rpartition("/")[2] == "baseline"), None)
    baseline = reference or named or next(iter(alone), None)

    def role(name: str) -> Role:
        if name == baseline:
            return "baseline"
        return "teacher" if name in teaching else "distilled" if name in taught else "other"

    return [(arm, role(arm.name)) for arm in arms]


def _teaches(run: RunFolder, checkpoints: Sequence[Path]) -> bool:
    """Whether a run is a teacher: of one of the others, wherever it was moved to, or by its own configuration."""
    if any(ckpt.parent.resolve() == run.path.resolve() for ckpt in checkpoints):
        return True
    if _teachers(run):
        return False
    moved = any(ckpt.parent.name == run.path.resolve().name for ckpt in checkpoints)
    return moved or (run.config is not None and run.config.get("network_def") == "%teacher_def")


def _teachers(run: RunFolder) -> list[Any]:
    found = run.settings.get("teacher_ckpt")
    if isinstance(found, str) and found.startswith("["):
        found = [part.strip(" '\"") for part in found.strip("[]").split(",")]
    return found if isinstance(found, list) else [found] if found else []
