"""From a source to a dataset folder: ``prepare_dataset``.

The folder holds ``images.npy``, ``masks.npy`` where there are masks, ``borders.json`` where there are borders, and,
when all of these are complete, ``datalist.json``. What is needed to go on, and to split again, is in ``.prepare``.
"""

import errno
import hashlib
import importlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.data.datalist import build_datalist, write_datalist
from kdmri_monai.data.errors import BadSourceError
from kdmri_monai.data.findings import Finding
from kdmri_monai.data.journal import JournalState
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.reading import ItemResult
from kdmri_monai.data.records import SliceRecord
from kdmri_monai.data.source_contract import Source
from kdmri_monai.data.sources import fingerprint, recognise_source
from kdmri_monai.data.splits import SplitOptions, assign_splits, group_families
from kdmri_monai.data.store import IMAGES, MASKS, StoreWriteError, open_store
from kdmri_monai.data.summary import count_slices
from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.data.verdicts import refuse_known_ids, refuse_two_labels
from kdmri_monai.data.workers import read_in_order
from kdmri_monai.data.workspace import BORDERS, DATALIST, Workspace

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}

Action = Literal["prepared", "resumed", "split again", "nothing to do"]


@dataclass(frozen=True)
class PrepareResult:
    """What ``prepare_dataset`` did.

    Attributes:
        folder: The dataset folder.
        action: ``prepared``; ``resumed`` where an interrupted preparation went on; ``split again`` where the images
            were there; ``nothing to do`` where all was.
        datalist: Content of ``datalist.json``.
    """

    folder: Path
    action: Action
    datalist: dict[str, Any]

    @property
    def counts(self) -> dict[str, Any]:
        """The summary, see ``summary.count_slices`` and ``summary.render_summary``."""
        return self.datalist["counts"]


def prepare_dataset(
    source: Path,
    out: Path,
    options: PrepareOptions | None = None,
    split: SplitOptions | None = None,
    *,
    progress: bool = True,
) -> PrepareResult:
    """Read a source into a dataset folder and split it.

    A second call with the same source and options does nothing; with another split it writes the datalist only. A call
    that was interrupted, by whatever means, is continued by the next, to the same bytes.

    Args:
        source: Archives, ``.mat`` files, folders of pictures, or a table; see ``recognise_source``.
        out: Dataset folder.
        options: How to read; the defaults where ``None``.
        split: How to split; the defaults where ``None``.
        progress: Show a progress bar on standard error.

    Returns:
        What was done.

    Raises:
        BadSourceError: The source is not recognised or gives no slice; the folder belongs to another source or other
            options.
        BadSliceError: Under ``strict``, the first bad slice, or archive that cannot be read.
        StoreWriteError: The disk is full, or cannot be written; the next call goes on.
    """
    options, split = options or PrepareOptions(), split or SplitOptions()
    found = recognise_source(source, options)
    preparation = {
        **options.as_dict(),
        "fingerprint": fingerprint(found, options),
        "split": _split_choices(split),
    }
    if datalist := _finished_datalist(out, preparation, options):
        return PrepareResult(out, "nothing to do", datalist)
    with Workspace(out, options.store_size) as work:
        state = work.resume(preparation["fingerprint"], options.overwrite)
        action: Action = "split again" if state.finished else "resumed" if state.items else "prepared"
        try:
            if not state.finished:
                with _loading_meanwhile(_needed_by(split)):
                    _read(found, work, state, options, progress)
            datalist = _finish(found, work, state, split, preparation, options)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise _no_room(error, work, state) from error
    return PrepareResult(out, action, datalist)


def _needed_by(split: SplitOptions) -> tuple[str, ...]:
    """Modules that are slow to import and that a split of this kind uses."""
    return ("sklearn.model_selection",) if split.folded and not split.folds_file else ()


@contextmanager
def _loading_meanwhile(modules: Sequence[str]) -> Iterator[None]:
    """Import what the split needs, a matter of a second, while the workers read and this process waits for them."""
    thread = threading.Thread(target=lambda: [importlib.import_module(module) for module in modules])
    thread.start()
    try:
        yield
    finally:
        thread.join()  # an interpreter that ends during an import says confusing things


def _read(found: Source, work: Workspace, state: JournalState, options: PrepareOptions, progress: bool) -> None:
    """Read the items that are not done yet, and put each into the store and the journal."""
    listing = found.list_items(work.scratch)
    _stop_at_first([*state.skipped, *(listing.skipped if not state.listed else ())], options)
    if not state.listed:
        work.note_listing(listing.skipped, listing.remarks, state)
    work.expected = len(listing.items)
    known = {record.id: record.source for record in state.records}
    results = read_in_order(listing.items[state.items :], work.size, options.worker_count(), found.batch)
    with tqdm(total=work.expected, initial=state.items, desc="reading", unit="file", disable=not progress) as bar:
        for number, result in enumerate(results, start=state.items):
            kept, findings = refuse_known_ids(result.slices, known)
            result = ItemResult(kept, [*result.skipped, *findings], result.remarks)
            _stop_at_first(result.skipped, options)
            work.add(number, kept, result, state)
            bar.update()
    work.finish(state)


def _finish(
    found: Source,
    work: Workspace,
    state: JournalState,
    split: SplitOptions,
    preparation: dict[str, Any],
    options: PrepareOptions,
) -> dict[str, Any]:
    """Put the store in its place, then borders, then the datalist, with which the folder is complete."""
    _stop_at_first(state.skipped, options)
    datalist = _datalist(found, state, split, preparation, options)
    work.seal(state)
    _write_borders(work.out / BORDERS, state.records)
    write_datalist(datalist, work.out / DATALIST)
    return datalist


def _stop_at_first(findings: Sequence[Finding], options: PrepareOptions) -> None:
    bad = [finding for finding in findings if finding.is_bad]
    if options.strict and bad:
        raise bad[0].as_error()


def _no_room(error: OSError, work: Workspace, state: JournalState) -> StoreWriteError:
    """The same error, for a person who wants to go on."""
    reason = f"cannot be written: {error.strerror}"
    left = work.expected - state.items
    if left > 0:
        images = 2 if any(record.has_mask for record in state.records) else 1
        reason += f". About {left * images * work.size**2 / 1e6:,.1f} MB more are needed for the {left:,} files left"
    reason += f"; {len(state.records):,} slices are kept in {work.folder}. Make room and run the same again: it goes on"
    return StoreWriteError(error.errno, reason, error.filename or str(work.folder / f"{IMAGES}.part"))


def _datalist(
    found: Source, state: JournalState, split: SplitOptions, preparation: dict[str, Any], options: PrepareOptions
) -> dict[str, Any]:
    records, findings = refuse_two_labels(state.records, options.classes)
    _stop_at_first(findings, options)
    skipped = [*state.skipped, *findings]
    if not records:
        first = "; ".join(str(finding.as_error()) for finding in skipped[:3]) or "it holds none"
        raise BadSourceError(f"{found.path}: no slice can be used: {first}")
    assignment = assign_splits(records, split, options.classes)
    provenance = {
        "name": found.path.resolve().name,
        "description": f"{_what(options)} from {found.kind}, prepared by kdmri_monai",
        "source": {"kind": found.kind, "name": found.path.resolve().name, "files": len(found.files)},
        "counts": count_slices(
            records, assignment.split, group_families(records), skipped, state.remarks, options.classes
        ),
        "skipped": [finding.as_dict() for finding in skipped],
        "preparation": preparation,
    }
    return build_datalist(records, assignment, split, provenance, options.classes)


def _what(options: PrepareOptions) -> str:
    return "Brain tumour slices" if options.classes == CLASSES else f"Slices of {len(options.classes)} classes"


def _write_borders(path: Path, records: Sequence[SliceRecord]) -> None:
    borders = {record.id: record.border for record in records if record.border is not None}
    if borders:
        write_atomically(path, json.dumps(borders, separators=(",", ":")).encode() + b"\n")


def _finished_datalist(out: Path, preparation: dict[str, Any], options: PrepareOptions) -> dict[str, Any] | None:
    """The datalist of a folder that is as it would be made now; ``None`` where something has to be done."""
    try:
        datalist = json.loads((out / DATALIST).read_text(encoding="utf-8"))
        if not isinstance(datalist, dict) or datalist.get("preparation") != preparation:
            return None
        for name in (IMAGES, MASKS) if datalist["counts"]["with_mask"] else (IMAGES,):
            open_store(out / name)
        bad = [entry for entry in datalist["skipped"] if Finding(**entry).is_bad]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or damaged: the journal knows more, and says what is wrong
    return None if bad and options.strict else datalist


def _split_choices(split: SplitOptions) -> dict[str, Any]:
    """The choices of a split, its fold file by content."""
    choices = asdict(split)
    if not split.whole:
        del choices["whole"]  # younger than folders that are still right
    if split.folds_file is not None:
        digest = hashlib.sha256(split.folds_file.read_bytes()).hexdigest()
        choices["folds_file"] = {"name": split.folds_file.name, "sha256": digest}
    return choices
