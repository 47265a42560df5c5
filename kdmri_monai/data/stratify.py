"""Whole families into folds and into a validation part, classes and kinds of id in equal shares.

The kind of a patient id is a shortcut in the Figshare set (every id that begins with MR is a glioma), so each part
should hold both kinds: recall by kind can then be measured in every fold.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from kdmri_monai.data.families import id_kind
from kdmri_monai.data.records import SliceRecord

Weight = tuple[int, int]  # slices, patients


def slice_strata(records: Sequence[SliceRecord], families: Mapping[str, str], least: int) -> list[str]:
    """Stratum of every slice: class and kind of patient id.

    Args:
        records: Slices.
        families: Patient to family.
        least: Families that a stratum needs; kinds of id that are rarer within their class are pooled.

    Returns:
        One name a slice, in the order of ``records``.
    """
    members: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
    for record in records:
        members[record.label, id_kind(record.patient)].add(families[record.patient])
    keys = [(record.label, id_kind(record.patient)) for record in records]
    return [f"{label} {kind}" if len(members[label, kind]) >= least else f"{label} *" for label, kind in keys]


def family_folds(records: Sequence[SliceRecord], families: Mapping[str, str], folds: int, seed: int) -> dict[str, int]:
    """Fold of every family, by scikit-learn's ``StratifiedGroupKFold``.

    That class balances the rows it is given, which are slices; here every patient counts as a further row of a
    stratum of its own, so that patients come out even as well, although some have three times the slices of others.

    Args:
        records: Slices, in any order.
        families: Patient to family.
        folds: Number of folds, at least 2.
        seed: Seed of the shuffle of the families.

    Returns:
        Family to fold, 0 .. ``folds`` - 1.

    Raises:
        ValueError: There are fewer families than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # here: workers start without scikit-learn
    from sklearn.utils import check_random_state

    names = sorted({families[record.patient] for record in records})
    if len(names) < folds:
        raise ValueError(f"{folds} folds need {folds} patient families at least, the data set has {len(names)}")
    ordered = sorted(records, key=lambda record: record.id)
    strata = slice_strata(ordered, families, folds)
    rows = [(stratum, families[record.patient]) for stratum, record in zip(strata, ordered, strict=True)]
    first = {record.patient: stratum for stratum, record in zip(strata, ordered, strict=True)}
    rows += [(f"patient of {first[patient]}", families[patient]) for patient in sorted(first)]
    # every row `folds` times: shares stay as they are, and the class does not refuse strata of few rows
    table = np.repeat(np.array(rows), folds, axis=0)
    # shuffled here, since scikit-learn before 1.8 loses the stratification when it shuffles; the order is that of 1.9
    order = np.arange(len(names))
    check_random_state(seed).shuffle(order)
    turn = {names[number]: place for place, number in enumerate(order)}
    parts = StratifiedGroupKFold(folds).split(table, table[:, 0], [turn[family] for family in table[:, 1]])
    return {str(family): fold for fold, (_, held_out) in enumerate(parts) for family in np.unique(table[held_out, 1])}


def nearest_share(weights: Mapping[str, Weight], fraction: float) -> list[str]:
    """Families, taken in turn, that come near to a share of the slices and of the patients.

    Args:
        weights: Family to its slices and patients; taken in this order.
        fraction: Share wanted, 0..1.

    Returns:
        Families whose taking brought both shares together nearer to ``fraction``.
    """
    total = np.sum(list(weights.values()), axis=0)
    taken = np.zeros(2)
    chosen: list[str] = []
    for family, weight in weights.items():
        larger = taken + weight
        if np.abs(larger / total - fraction).sum() < np.abs(taken / total - fraction).sum():
            taken, chosen = larger, [*chosen, family]
    return chosen


def validation_families(
    records: Sequence[SliceRecord], families: Mapping[str, str], fraction: float, least: int, salt: str
) -> set[str]:
    """Families that leave the training part for validation.

    Args:
        records: Slices that are not in the test part, in any order.
        families: Patient to family.
        fraction: Share of the slices wanted, 0..1; with more than 0, one family of every class at least, where the
            class keeps another one for training.
        least: Families that a stratum needs, as in ``slice_strata``.
        salt: Families are taken in the order of the SHA-256 of this text and their name, which does not change when
            a data set grows.

    Returns:
        Names of the families; every class of ``records`` keeps one family for training at least.
    """
    if fraction == 0:
        return set()
    counts: defaultdict[str, Counter[tuple[int, str]]] = defaultdict(Counter)
    patients: defaultdict[str, set[str]] = defaultdict(set)
    for record, stratum in zip(records, slice_strata(records, families, least), strict=True):
        counts[families[record.patient]][record.label, stratum] += 1
        patients[families[record.patient]].add(record.patient)
    ordered = sorted(counts, key=lambda family: hashlib.sha256(f"{salt} {family}".encode()).digest())
    home = {family: min(counts[family], key=lambda key: (-counts[family][key], key)) for family in ordered}
    weights = {family: (counts[family].total(), len(patients[family])) for family in ordered}
    chosen: set[str] = set()
    for label in sorted({label for label, _ in home.values()}):
        of_class = [family for family in ordered if home[family][0] == label]
        strata = sorted({home[family][1] for family in of_class})
        groups = [{family: weights[family] for family in of_class if home[family][1] == name} for name in strata]
        taken = {family for group in groups for family in nearest_share(group, fraction)}
        chosen |= _within_class(of_class, taken, weights, fraction)
    return chosen


def _within_class(of_class: list[str], taken: set[str], weights: Mapping[str, Weight], fraction: float) -> set[str]:
    """``taken``, with one family at least for each side where the class has two."""
    if len(of_class) < 2:
        return set()
    wanted = fraction * sum(weights[family][0] for family in of_class)
    if not taken:
        return {min(of_class, key=lambda family: abs(weights[family][0] - wanted))}
    if len(taken) == len(of_class):
        return taken - {min(of_class, key=lambda family: weights[family][0])}
    return taken
