import json

import pytest

from kdmri_monai.evaluation.convergence import epochs_to_baselines_best, epochs_to_reach
from kdmri_monai.evaluation.history import read_history


@pytest.fixture
def write(tmp_path):
    def run(name, scores, n=300, metric="balanced_accuracy"):
        """One line an epoch; an ellipsis is an epoch without validation."""
        folder = tmp_path / name
        folder.mkdir()
        rows = [
            {"epoch": epoch, "training": {"balanced_accuracy": 1.0}}
            | ({} if score is ... else {"validation": {metric: score}})
            | ({} if n is None else {"n": {"validation": n}})
            for epoch, score in enumerate(scores, start=1)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return run


@pytest.mark.parametrize(("target", "epoch"), [(0.1, 2), (0.5, 2), (0.51, 5), (0.9, 5), (0.91, None), (-1.0, 2)])
def test_the_first_epoch_that_reaches_the_target_counts(write, target, epoch):
    assert epochs_to_reach(read_history(write("run", [..., 0.5, None, 0.4, 0.9, 0.9])), target) == epoch


def test_training_numbers_and_other_metrics_do_not_count(write):
    history = read_history(write("run", [0.2, 0.7], metric="macro_f1"))
    assert epochs_to_reach(history, 0.6, "macro_f1") == 2
    with pytest.raises(ValueError, match="no epoch has a validation balanced_accuracy"):
        epochs_to_reach(history, 0.6)


def test_a_run_is_timed_against_the_best_epoch_of_the_baseline(write):
    baseline = write("baseline", [0.5, 0.6, 0.8, 0.7, 0.8])
    assert epochs_to_baselines_best(baseline, baseline) == 3
    assert epochs_to_baselines_best(write("fast", [0.7, 0.8, 0.75, 0.9]), baseline) == 2
    assert epochs_to_baselines_best(write("slow", [0.5, 0.6, 0.7, 0.79]), baseline) is None
    assert epochs_to_baselines_best(write("every_second", [..., 0.7, ..., 0.85], n=None), baseline) == 4


def test_runs_that_cannot_be_compared_are_refused_by_name(write):
    baseline = write("baseline", [0.5, 0.6])
    with pytest.raises(ValueError, match=r"other was validated on 299 slices and .*baseline on 300"):
        epochs_to_baselines_best(write("other", [0.9], n=299), baseline)
    with pytest.raises(ValueError, match=r"unseen: no epoch has a validation balanced_accuracy"):
        epochs_to_baselines_best(baseline, write("unseen", [..., ...]))
    with pytest.raises(ValueError, match=r"blind: no epoch has a validation balanced_accuracy"):
        epochs_to_baselines_best(write("blind", [..., None]), baseline)
    with pytest.raises(OSError, match=r"metrics\.jsonl"):
        epochs_to_baselines_best(baseline.parent / "nowhere", baseline)
