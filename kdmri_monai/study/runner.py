"""Runs the jobs of a study side by side, each in a process of its own; what fails does not stop the rest."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdmri_monai.study.alone import interruptible
from kdmri_monai.study.plan import Job
from kdmri_monai.study.state import Stage, State, state_of

GRACE = 30.0
"""Seconds that a process has to end after it was interrupted."""


@dataclass
class Outcome:
    """What became of a job.

    Attributes:
        job: The job.
        state: How far its run has come.
        failure: Why it did not get further, in a line; empty where nothing went wrong.
        log: File with what its processes have printed; ``None`` where none was started.
        seconds: Time that its processes took.
    """

    job: Job
    state: State
    failure: str = ""
    log: Path | None = None
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        """Whether its run is finished."""
        return self.state.stage is Stage.finished and not self.failure


Told = Callable[[str, Outcome], None]


@dataclass
class StudyRunner:
    """Starts jobs as soon as those that they need are finished, at most so many at a time.

    Args:
        jobs: In the order in which they should be started.
        logs: Folder for one log a job.
        side_by_side: Processes at a time.
        overlays: Configuration files that evaluate and that examine a run.
        told: Called with ``started``, ``finished``, ``failed`` and an outcome, from several threads, one at a time.

    Attributes:
        outcomes: By name of the job.
    """

    jobs: Sequence[Job]
    logs: Path
    side_by_side: int
    evaluate: Path
    told: Told = lambda event, outcome: None
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Condition()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._waiting: list[Job] = []
        self._stopped = False

    def run(self) -> dict[str, Outcome]:
        """Does what is left of every job.

        Raises:
            StudyError: A folder holds another run; nothing was started then.
            KeyboardInterrupt: It was interrupted, by SIGINT or SIGTERM; all processes have ended, and the same study
                goes on later.
        """
        self.outcomes = {job.name: Outcome(job, state_of(job)) for job in self.jobs}
        self._waiting = [job for job in self.jobs if not self.outcomes[job.name].done]
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(self.side_by_side)]
        with interruptible():
            try:
                for worker in workers:
                    worker.start()
                while any(worker.is_alive() for worker in workers):
                    time.sleep(0.1)
            except KeyboardInterrupt:
                self._interrupt()
                raise
        return self.outcomes

    def _work(self) -> None:
        while (job := self._next()) is not None:
            outcome = self.outcomes[job.name]
            began = time.monotonic()
            outcome.log = self.logs / f"{job.name.replace('/', '_')}.log"
            self._tell("started", outcome)
            try:
                self._do(job, outcome)
            except OSError as error:
                outcome.failure = str(error)
            outcome.seconds = time.monotonic() - began
            with self._lock:
                self._running.pop(job.name, None)
                self._lock.notify_all()
            if not self._stopped:
                self._tell("failed" if outcome.failure else "finished", outcome)

    def _next(self) -> Job | None:
        """The first job that can start; waits while one may yet be able to."""
        with self._lock:
            while not self._stopped:
                for job in list(self._waiting):
                    missing = [name for name in job.needs if not self.outcomes[name].done]
                    if any(self._is_hopeless(name) for name in missing):
                        self._waiting.remove(job)
                        outcome = self.outcomes[job.name]
                        outcome.failure = f"waits for {', '.join(missing)}"
                        self.told("failed", outcome)
                    elif not missing:
                        self._waiting.remove(job)
                        self._running[job.name] = None  # type: ignore[assignment]  # taken; its process comes
                        return job
                if not self._waiting:
                    return None
                self._lock.wait(1.0)
        return None

    def _is_hopeless(self, name: str) -> bool:
        return bool(self.outcomes[name].failure)

    def _do(self, job: Job, outcome: Outcome) -> None:
        while (stage := outcome.state.stage) is not Stage.finished:
            command = self._command(job, stage)
            status = self._call(job, command, outcome)
            before, outcome.state = outcome.state, state_of(job)
            if self._stopped:
                return
            if status != 0 or outcome.state == before:
                outcome.failure = f"{_last_line(outcome.log)} (exit status {status})"
                return

    def _command(self, job: Job, stage: Stage) -> list[str]:
        if stage in (Stage.new, Stage.interrupted):
            return [*job.command("training"), "--resume", "True"]
        if stage is Stage.trained:
            return job.command("evaluating", self.evaluate)
        return [sys.executable, "-c", "from kdmri_monai.cli import app; app()", "examine", str(job.folder)]

    def _call(self, job: Job, command: list[str], outcome: Outcome) -> int:
        assert outcome.log is not None
        outcome.log.parent.mkdir(parents=True, exist_ok=True)
        threads = str(max(1, (os.cpu_count() or 1) // self.side_by_side))
        environment = {"OMP_NUM_THREADS": threads, "PYTHONWARNINGS": "ignore"} | os.environ
        with outcome.log.open("ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            with self._lock:
                if self._stopped:
                    return 1
                process = subprocess.Popen(
                    command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
                )
                self._running[job.name] = process
            return process.wait()

    def _tell(self, event: str, outcome: Outcome) -> None:
        with self._lock:
            self.told(event, outcome)

    def _interrupt(self) -> None:
        """Ends all processes; a run writes its checkpoint after every epoch, so one epoch at most is lost."""
        with self._lock:
            self._stopped = True
            processes = [process for process in self._running.values() if process is not None]
            self._lock.notify_all()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            for process in processes:
                if process.poll() is None:
                    os.killpg(process.pid, number)
            deadline = time.monotonic() + GRACE
            while time.monotonic() < deadline and any(process.poll() is None for process in processes):
                time.sleep(0.05)


def _last_line(log: Path | None) -> str:
    if log is None or not log.is_file():
        return "nothing was printed"
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing was printed"
