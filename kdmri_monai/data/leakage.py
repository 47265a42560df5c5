"""The check that no patient, family or image stands on two sides of a datalist."""

import logging
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, get_args

from kdmri_monai.data.errors import LeakageError
from kdmri_monai.data.families import merge_patients, patient_family
from kdmri_monai.data.splits import GroupRule
from kdmri_monai.data.store_path import parse_store_path
from kdmri_monai.data.taxonomy import SPLITS

logger = logging.getLogger(__name__)

_NAMED = 5  # offenders that a message names


def check_leakage(datalist: Mapping[str, Any]) -> None:
    """Refuses a datalist that has one patient on two sides.

    Patients, slice ids, digests of images and places in the image store may stand in one split only. Families are
    computed anew from the patient ids and the digests, never taken from the entries alone: what the entries say of
    families is only added to it, so that a family can be made larger by hand, and never smaller. Under the group rule
    "family" no family may be in two splits. Under "patient" (published folds) training and validation may share
    none, while one that crosses to the test part is reported to the log as a warning.

    Args:
        datalist: Content of ``datalist.json``, as ``read_datalist`` gives it.

    Raises:
        LeakageError: Something crosses; the message counts it, names up to five offenders and the splits of each.
            Or the group rule is none that is known, or is "patient" without published folds.
    """
    rule = datalist.get("group_rule")
    if rule not in get_args(GroupRule):
        raise LeakageError(f"group_rule is {rule!r}, allowed are {', '.join(get_args(GroupRule))}")
    if rule == "patient" and not datalist.get("folds_file"):
        raise LeakageError('group_rule is "patient", which only a datalist of published folds (folds_file) may have')
    rows = [(split, entry) for split in SPLITS for entry in datalist[split]]
    families = merge_patients(
        link
        for _, entry in rows
        for link in ((entry["patient"], ("image", entry["sha256"])), (entry["patient"], ("family", entry["family"])))
    )
    found = [
        _offence("patients", ((entry["patient"], split) for split, entry in rows)),
        _offence("slice ids", ((entry["id"], split) for split, entry in rows)),
        _offence("identical images", ((entry["sha256"], split) for split, entry in rows)),
        _offence("stored images", ((parse_store_path(entry["image"]), split) for split, entry in rows)),
    ]
    by_family = [(families[entry["patient"]], split) for split, entry in rows]
    if rule == "family":
        found.append(_offence("patient families", by_family))
    else:
        found.append(_offence("patient families", ((family, split) for family, split in by_family if split != "test")))
    offences = [offence for offence in found if offence]
    if offences:
        raise LeakageError("; ".join(offences))
    if rule == "patient":
        _warn_of_families(by_family)


def held_out_families(datalist: Mapping[str, Any]) -> set[str]:
    """Families of the validation and test split, under every name that they may have.

    The family of an entry may be that of another patient who shares an image, so that of its own id counts too.

    Args:
        datalist: As ``read_datalist`` gives it.
    """
    entries = [entry for split in ("validation", "test") for entry in datalist[split]]
    return {name for entry in entries for name in (entry["family"], patient_family(entry["patient"]))}


def training_digests(datalist: Mapping[str, Any]) -> set[str]:
    """Digests of the stored pixels of the training split.

    Args:
        datalist: As ``read_datalist`` gives it.
    """
    return {entry["sha256"] for entry in datalist["training"]}


def _crossing(pairs: Iterable[tuple[Hashable, str]]) -> dict[Hashable, list[str]]:
    """What stands in more than one split, with its splits in their usual order."""
    places: dict[Hashable, set[str]] = {}
    for key, split in pairs:
        places.setdefault(key, set()).add(split)
    return {key: [name for name in SPLITS if name in found] for key, found in places.items() if len(found) > 1}


def _offence(what: str, pairs: Iterable[tuple[Hashable, str]]) -> str | None:
    """A sentence on what crosses, or nothing."""
    crossing = _crossing(pairs)
    if not crossing:
        return None
    names = sorted(crossing, key=str)
    named = ", ".join(f"{name} ({' and '.join(crossing[name])})" for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what} in more than one split: {len(names)}: {named}{more}"


def _warn_of_families(by_family: list[tuple[str, str]]) -> None:
    crossing = _crossing(by_family)
    if crossing:
        slices = sum(family in crossing for family, _ in by_family)
        logger.warning(
            "%d slices belong to %d patient families that cross between the test part and the rest: "
            "the published folds keep patient ids together, not families",
            slices,
            len(crossing),
        )
