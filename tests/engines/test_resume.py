"""Checkpoints: resumed equals uninterrupted, the best model stays, a full disk costs nothing."""

import json
import subprocess
import sys
import textwrap

import pytest
import torch
from ignite.engine import Events

from kdmri_monai.engines.checkpoints import save_atomically


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Interrupted(Exception):
    pass


def interrupt_at(trainer, iteration):
    @trainer.on(Events.ITERATION_COMPLETED(once=iteration))
    def stop(_):
        raise Interrupted


@pytest.mark.parametrize("distil", [True, False])
@pytest.mark.parametrize("iteration", [5, 12])
def test_a_resumed_run_equals_an_uninterrupted_one(study, tmp_path, distil, iteration):
    straight = study(tmp_path / "straight", epochs=4, distil=distil)
    straight.trainer.run()
    first = study(tmp_path / "broken", epochs=4, distil=distil)
    interrupt_at(first.trainer, iteration)
    with pytest.raises(Interrupted):
        first.trainer.run()
    second = study(tmp_path / "broken", epochs=4, distil=distil, resume=True)
    second.trainer.run()
    assert second.trainer.state.iteration == straight.trainer.state.iteration == 20
    assert equal(straight.student.state_dict(), second.student.state_dict())
    if distil:
        assert equal(straight.distiller.state_dict(), second.distiller.state_dict())
    best = [torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("straight", "broken")]
    assert equal(*best)


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_curves_of_a_resumed_run_have_every_epoch_once(study, tmp_path):
    straight = study(tmp_path / "straight", epochs=4)
    straight.trainer.run()
    first = study(tmp_path / "broken", epochs=4)
    interrupt_at(first.trainer, 12)
    with pytest.raises(Interrupted):
        first.trainer.run()
    # as if it had been stopped after the curve of epoch 3 was written and before its checkpoint was
    with (tmp_path / "broken" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": 3, "lr": 0}) + "\n")
    second = study(tmp_path / "broken", epochs=4, resume=True)
    second.trainer.run()
    expected, got = rows(tmp_path / "straight"), rows(tmp_path / "broken")
    for row in expected + got:
        del row["seconds"]
    assert got == expected


def test_a_resumed_run_does_not_replace_a_better_model(study, tmp_path):
    run = study(tmp_path, epochs=1)
    run.trainer.run()
    run.checkpoints.best["score"] = (2.0, 0.0)  # better than anything that can come
    run.checkpoints.save(run.trainer)
    best = torch.load(tmp_path / "model.pt", weights_only=True)
    again = study(tmp_path, epochs=3, resume=True)
    again.trainer.run()
    assert equal(best, torch.load(tmp_path / "model.pt", weights_only=True))


def test_the_best_epoch_is_the_one_of_highest_validation_score(study, tmp_path):
    run = study(tmp_path, epochs=4)
    states = {}
    run.trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda e: states.update({e.state.epoch: {k: v.clone() for k, v in run.student.state_dict().items()}}),
    )
    run.trainer.run()
    scores = {r["epoch"]: (r["validation"]["balanced_accuracy"], -r["validation"]["loss"]) for r in rows(tmp_path)}
    best = max(scores, key=lambda epoch: scores[epoch])
    assert equal(torch.load(tmp_path / "model.pt", weights_only=True), states[best])


def test_the_best_model_is_the_bare_student(study, tmp_path):
    run = study(tmp_path, epochs=1)
    run.trainer.run()
    assert torch.load(tmp_path / "model.pt", weights_only=True).keys() == run.student.state_dict().keys()


def test_a_checkpoint_of_another_configuration_is_refused(study, tmp_path):
    study(tmp_path, epochs=1, distil=False).trainer.run()
    with pytest.raises(ValueError, match=r"checkpoint.pt was written by another configuration"):
        study(tmp_path, epochs=2, resume=True).trainer.run()


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "model.pt"
    save_atomically({"weight": torch.ones(3)}, path)
    script = f"""
        import resource, torch
        from pathlib import Path
        from kdmri_monai.engines.checkpoints import save_atomically
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        save_atomically({{"weight": torch.zeros(200_000)}}, Path({str(path)!r}))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert f"OSError: {path} could not be written" in done.stderr
    assert "the file of the epoch before is kept" in done.stderr
    assert torch.equal(torch.load(path, weights_only=True)["weight"], torch.ones(3))
    assert list(tmp_path.iterdir()) == [path]
