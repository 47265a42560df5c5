"""Jobs side by side: order, failures, what is finished already, an interruption. The processes are small scripts."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kdmri_monai.study import runner as module
from kdmri_monai.study.alone import alone_in
from kdmri_monai.study.plan import Job
from kdmri_monai.study.runner import StudyRunner
from kdmri_monai.study.state import Stage, State

TRAIN = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1]); folder.mkdir(parents=True, exist_ok=True)
(folder / "calls").open("a").write(sys.argv[2] + "\\n")
if sys.argv[3] == "fail": print("Traceback"); sys.exit("NonFiniteLossError: the loss became nan")
if sys.argv[3] == "sleep": (folder / "sleeps").touch(); time.sleep(60)
(folder / sys.argv[2]).touch()
"""


class Scripted(Job):
    """A job whose training and evaluation leave a file."""

    def command(self, run_id, *more):
        return [sys.executable, "-c", TRAIN, str(self.folder), run_id, self.settings.get("does", "")]


@pytest.fixture(autouse=True)
def states(monkeypatch):
    def state_of(job):
        if (job.folder / "evaluating").exists():
            return State(Stage.finished, 1)
        return State(Stage.trained, 1) if (job.folder / "training").exists() else State(Stage.new, 0)

    monkeypatch.setattr(module, "state_of", state_of)


def a_job(home, name, needs=(), **settings):
    return Scripted(name, home / name, (), settings, needs, arm=name)


def run(home, jobs, side_by_side=2):
    told = []
    study = StudyRunner(
        jobs, home / "logs", side_by_side, Path("evaluate.json"), lambda event, one: told.append((event, one.job.name))
    )
    return study.run(), told


def test_every_job_is_trained_and_evaluated_once_and_never_again(tmp_path):
    jobs = [a_job(tmp_path, "a"), a_job(tmp_path, "b")]
    for _ in range(2):
        outcomes, told = run(tmp_path, jobs)
        assert all(outcome.done for outcome in outcomes.values())
    assert told == []  # the second time nothing was left
    assert (tmp_path / "a" / "calls").read_text().split() == ["training", "evaluating"]


def test_students_wait_for_their_teacher(tmp_path):
    jobs = [a_job(tmp_path, "student", needs=("teacher",)), a_job(tmp_path, "teacher")]
    _, told = run(tmp_path, jobs)
    assert told.index(("finished", "teacher")) < told.index(("started", "student"))


def test_a_failure_is_told_and_stops_nobody_else(tmp_path):
    jobs = [
        a_job(tmp_path, "bad", does="fail"),
        a_job(tmp_path, "pupil", needs=("bad",)),
        a_job(tmp_path, "good"),
    ]
    outcomes, told = run(tmp_path, jobs, side_by_side=1)
    assert outcomes["good"].done
    assert outcomes["bad"].failure == "NonFiniteLossError: the loss became nan (exit status 1)"
    assert "Traceback" in outcomes["bad"].log.read_text()
    assert outcomes["pupil"].failure == "waits for bad"
    assert ("failed", "pupil") in told
    assert not (tmp_path / "pupil").exists()


def test_what_was_interrupted_goes_on(tmp_path):
    job = a_job(tmp_path, "a")
    job.folder.mkdir()
    (job.folder / "training").touch()
    outcomes, _ = run(tmp_path, [job])
    assert outcomes["a"].done
    assert (tmp_path / "a" / "calls").read_text().split() == ["evaluating"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_all_processes(tmp_path, monkeypatch, number):
    monkeypatch.setattr(module, "GRACE", 5.0)
    jobs = [a_job(tmp_path, "a", does="sleep"), a_job(tmp_path, "b", does="sleep")]
    study = StudyRunner(jobs, tmp_path / "logs", 2, Path("evaluate.json"))

    def interrupt():
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not all((job.folder / "sleeps").exists() for job in jobs):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    before = signal.signal(number, signal.SIG_IGN)  # as SIGINT is in the background
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            study.run()
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    processes = [process for process in study._running.values() if process is not None]
    assert all(process.poll() is not None for process in processes)
    assert not any((job.folder / "training").exists() for job in jobs)


def test_a_folder_belongs_to_one_study_at_a_time(tmp_path):
    with alone_in(tmp_path):
        holder = "import sys; from pathlib import Path; from kdmri_monai.study.alone import alone_in\n"
        holder += "with alone_in(Path(sys.argv[1])): print('inside')"
        words = [sys.executable, "-c", holder, str(tmp_path)]
        told = subprocess.run(words, capture_output=True, text=True, check=False)
        assert told.returncode != 0
        assert f"StudyError: {tmp_path}: another study runs in this folder" in told.stderr
    assert "inside" in subprocess.run(words, capture_output=True, text=True, check=True).stdout
