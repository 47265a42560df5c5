"""Slices that are sound by themselves but not beside the others."""

from collections import Counter
from collections.abc import Sequence

from kdmri_monai.data.findings import Finding
from kdmri_monai.data.reading import PreparedSlice
from kdmri_monai.data.records import SliceRecord
from kdmri_monai.data.taxonomy import CLASSES


def refuse_known_ids(
    slices: Sequence[PreparedSlice], known: dict[str, str]
) -> tuple[list[PreparedSlice], list[Finding]]:
    """Keep the first slice of every id.

    Args:
        slices: Next in the order of the source.
        known: Source of every id so far; taken further.

    Returns:
        Slices with new ids, and a finding for each of the others.
    """
    kept, findings = [], []
    for entry in slices:
        record = entry.record
        if record.id in known:
            reason = f"is {record.id!r}, as that of {known[record.id]}, which is kept"
            findings.append(Finding(record.source, "id", reason))
        else:
            known[record.id] = record.source
            kept.append(entry)
    return kept, findings


def refuse_two_labels(
    records: Sequence[SliceRecord], classes: Sequence[str] = CLASSES
) -> tuple[list[SliceRecord], list[Finding]]:
    """Leave out patients of more than one class: which one is true is not known.

    Their rows stay in the store; no entry of a datalist points at them.

    Args:
        records: All slices of the store.
        classes: Names of the K classes.

    Returns:
        Slices of the other patients, and a finding for each that is left out.
    """
    labels: dict[str, Counter[int]] = {}
    for record in records:
        labels.setdefault(record.patient, Counter())[record.label] += 1
    kept, findings = [], []
    for record in records:
        counts = labels[record.patient]
        if len(counts) == 1:
            kept.append(record)
            continue
        told = ", ".join(f"{classes[label]} in {count}" for label, count in sorted(counts.items()))
        reason = f"of patient {record.patient!r} is not one but {len(counts)} ({told}): all slices are left out"
        findings.append(Finding(record.source, "label", reason))
    return kept, findings
