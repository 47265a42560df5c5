"""A study that has its folder to itself, and that ends its processes whoever asks it to end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from kdmri_monai.study.config import StudyError

LOCK = ".lock"
ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Holds a folder; the lock ends with the process, however it ends.

    Raises:
        StudyError: Another study runs in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise StudyError(
            f"{folder}: another study runs in this folder; wait for it, end it, or name another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise ``KeyboardInterrupt``, in the background too, where shells have SIGINT ignored.

    Queues of clusters end jobs by SIGTERM. Outside the main thread, which alone is told of signals, nothing is changed.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
