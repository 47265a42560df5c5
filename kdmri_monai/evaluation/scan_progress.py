"""A bar that counts slices, whose number nobody knows before the last file is read."""

import sys

from ignite.engine import Engine, Events
from tqdm import tqdm

from kdmri_monai.data.stored_scans import StoredScans


class ScanProgress:
    """Handler that shows how many slices were classified, which one was the last, and how many were skipped.

    Args:
        scans: What the batches come from.
    """

    def __init__(self, scans: StoredScans) -> None:
        self.scans = scans
        self.bar: tqdm[None] | None = None

    def attach(self, engine: Engine) -> None:
        """Registers the handler with an evaluator."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.advance)
        engine.add_event_handler(Events.COMPLETED, self.stop)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.fail)

    def start(self) -> None:
        """Opens the bar."""
        self.bar = tqdm(unit=" slices", file=sys.stderr, dynamic_ncols=True)

    def advance(self, engine: Engine) -> None:
        """Counts one batch."""
        if self.bar is not None:
            names = engine.state.batch["name"]
            self.bar.set_postfix_str(f"{names[-1]}, {len(self.scans.findings)} skipped", refresh=False)
            self.bar.update(len(names))

    def stop(self) -> None:
        """Leaves the bar as it is."""
        if self.bar is not None:
            self.bar.close()

    def fail(self, error: BaseException) -> None:
        """Leaves the bar before an error is shown."""
        self.stop()
        raise error
