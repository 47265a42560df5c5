"""Items read by several processes, results in order, with never more than a few of them in memory.

Every worker is a new interpreter that imports this package's reading part only: no fork of a parent that may hold torch
and its threads, no import of the parent's main module, and an end of its own when the parent is gone, because its pipe
is then closed. A worker that a damaged file brings down is replaced, and the file is reported.
"""

import os
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from kdmri_monai.data.findings import Finding
from kdmri_monai.data.reading import ItemResult, read_item
from kdmri_monai.data.source_contract import SliceItem
from kdmri_monai.data.source_figshare import close_archive

_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}
_AHEAD = 2  # batches that a worker holds: one in hand, one waiting
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # glibc returns every large array to the system and fetches it again page by page: a tenth of the time of a slice
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}


@dataclass(frozen=True)
class _Failure:
    """An exception nobody expected, with the traceback of the worker."""

    text: str


def read_in_order(items: Sequence[SliceItem], size: int, workers: int, batch: int) -> Iterator[ItemResult]:
    """Results of items, in their order, whatever the number of workers.

    Args:
        items: What to read.
        size: Side ``S`` of the stored images.
        workers: Processes; 1 reads in this one.
        batch: Items that a worker gets at a time.

    Yields:
        One result an item.

    Raises:
        RuntimeError: A worker failed, or was killed, for a reason that is not in the file it read.
    """
    workers = min(workers, -(-len(items) // batch))
    if workers <= 1:
        try:
            yield from (read_item(item, size) for item in items)
        finally:
            close_archive()
        return
    crew = _Crew(items, size, workers, batch)
    try:
        yield from crew.results()
    finally:
        crew.stop()


class _Worker:
    """A process, the pipe to it, and the numbers of the items it has been given, in order."""

    def __init__(self, size: int) -> None:
        self.link, far_end = Pipe()
        # nothing but built-in modules is imported before the search path is that of this process
        start = (
            f"import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = {sys.path!r}; "
            f"from kdmri_monai.data.workers import serve; serve({far_end.fileno()}, {size})"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", start],
            stdin=subprocess.DEVNULL,
            pass_fds=[far_end.fileno()],
            env={**os.environ, **_ENVIRONMENT},
        )
        far_end.close()
        self.pending: deque[int] = deque()

    def stop(self) -> int:
        """End the process, whatever it is doing; returns its exit status."""
        self.link.close()
        if not self.pending:  # it is idle and ends by itself, its pipe being closed
            try:
                return self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                pass
        self.process.kill()
        return self.process.wait()


class _Crew:
    """Workers that share a list of items."""

    def __init__(self, items: Sequence[SliceItem], size: int, workers: int, batch: int) -> None:
        self._items, self._size, self._batch = items, size, batch
        self._given = self._taken = 0
        self._ready: dict[int, ItemResult] = {}
        self._window = 2 * _AHEAD * workers * batch  # items between the first unfinished one and the last given
        self._workers = [_Worker(size) for _ in range(workers)]

    def results(self) -> Iterator[ItemResult]:
        while self._taken < len(self._items):
            self._feed()
            by_link = {worker.link: worker for worker in self._workers if worker.pending}
            for link in wait(list(by_link)):
                self._receive(by_link[link])  # type: ignore[index]  # wait() returns the connections it was given
            while self._taken in self._ready:
                yield self._ready.pop(self._taken)
                self._taken += 1

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()

    def _feed(self) -> None:
        """Give every worker its batches, the idlest first, as far as the window allows."""
        while self._given < min(len(self._items), self._taken + self._window):
            worker = min(self._workers, key=lambda worker: len(worker.pending))
            if len(worker.pending) > (_AHEAD - 1) * self._batch:
                return
            end = min(self._given + self._batch, len(self._items))
            self._give(worker, list(range(self._given, end)))
            self._given = end

    def _give(self, worker: _Worker, numbers: list[int]) -> None:
        worker.pending.extend(numbers)
        try:
            worker.link.send([self._items[number] for number in numbers])
        except (BrokenPipeError, ConnectionResetError):
            return  # the worker is gone: its end of the pipe reads as closed, and that is where it is dealt with

    def _receive(self, worker: _Worker) -> None:
        try:
            result = worker.link.recv()
        except (EOFError, ConnectionResetError):
            self._replace(worker)
            return
        if isinstance(result, _Failure):
            raise RuntimeError(f"reading {self._items[worker.pending[0]].name} failed:\n{result.text}")
        self._ready[worker.pending.popleft()] = result

    def _replace(self, worker: _Worker) -> None:
        """A worker died over an item: report the item, give the others to a new worker."""
        number, *others = worker.pending
        name, status = self._items[number].name, worker.process.wait()
        worker.link.close()
        if -status not in _CRASHES:
            cause = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            raise RuntimeError(f"a reading process ended with {cause} over {name}; is memory short?")
        reason = f"brought down the process that read it ({signal.Signals(-status).name}): it is damaged"
        self._ready[number] = ItemResult(skipped=[Finding(name, "file", reason)])
        new = _Worker(self._size)
        self._workers[self._workers.index(worker)] = new
        if others:
            self._give(new, others)


def serve(descriptor: int, size: int) -> None:
    """What a worker does: take batches of items from a pipe, send a result for each, end when the pipe is closed.

    Args:
        descriptor: Its end of the pipe.
        size: Side ``S`` of the stored images.
    """
    link = Connection(descriptor)
    try:
        while True:
            for item in link.recv():
                link.send(_result(item, size))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _result(item: SliceItem, size: int) -> ItemResult | _Failure:
    try:
        return read_item(item, size)
    except Exception:  # noqa: BLE001 - the parent raises it again, with this traceback
        return _Failure(traceback.format_exc())
