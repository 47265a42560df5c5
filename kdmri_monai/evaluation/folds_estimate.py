"""What a model that learned from all patients is worth: told by runs of the same recipe, each on the fold held out.

Source: Cawley and Talbot, "On over-fitting in model selection and subsequent selection bias in performance evaluation",
JMLR 2010: cross-validation judges a way to train; the model for use is then trained that way on everything.
"""

from collections.abc import Sequence
from pathlib import Path

from kdmri_monai.evaluation.arms import Arm, arms_of, some
from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.fold_scheme import check_design
from kdmri_monai.evaluation.metrics_file import evaluate_predictions, write_metrics
from kdmri_monai.evaluation.predictions_file import write_predictions
from kdmri_monai.evaluation.run_folder import RunFolder

SPLIT = "folds"
"""In place of ``test``: ``folds_metrics.json``, ``folds_predictions.csv``."""


def estimate_from_folds(run: Path, folds: Sequence[Path], seed: int = 0, replicates: int = 2000) -> Path:
    """Writes into a run what its recipe has reached on patients that were held out.

    Args:
        run: Folder of a run without a test part (``kdmri prepare --whole``).
        folds: Evaluated runs that differ from it by fold and seed of training alone: one for every fold.
        seed: Seed of the bootstrap.
        replicates: Of the bootstrap.

    Returns:
        ``RUN/folds_metrics.json``; the predictions of all folds lie beside it.

    Raises:
        ComparisonError: The runs were trained in another way, are of several seeds, lack a fold, or were split in
            different ways; the message names them.
    """
    whole, members = RunFolder(run), [RunFolder(path) for path in folds]
    _check_recipe(whole, members)
    arm = Arm(whole.name, tuple(sorted(members, key=lambda member: -1 if member.fold is None else member.fold)))
    if len(arm.seeds) > 1:
        raise ComparisonError(f"the runs have the seeds {', '.join(map(str, arm.seeds))}: give those of one")
    count = check_design([arm])
    if count is None or len(arm.folds) != count:
        raise ComparisonError(f"there are runs of {len(arm.folds)} folds, the data were split into {count or 'none'}")
    (table,) = arm.tables("test")
    write_predictions(table, whole.predictions_path(SPLIT))
    path = whole.path / f"{SPLIT}_metrics.json"
    provenance = {"runs": [f"fold {member.fold}, seed {member.seed}" for member in arm.runs], "split": "test"}
    write_metrics(evaluate_predictions(table, seed, replicates), path, provenance)
    return path


def _check_recipe(whole: RunFolder, members: Sequence[RunFolder]) -> None:
    if not members:
        raise ComparisonError("no run of a fold was given")
    others = [str(member.path) for member in members if len(arms_of([whole, member])) > 1]
    if others:
        raise ComparisonError(f"{some(others)} was not trained as {whole.path} was: their configurations differ")
