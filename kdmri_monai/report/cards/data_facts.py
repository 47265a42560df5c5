"""What the files say about the data of a run, in sentences."""

from collections.abc import Mapping
from typing import Any

from kdmri_monai.data.datalist import class_names
from kdmri_monai.data.taxonomy import CLASSES

FIGSHARE = "figshare"
UNKNOWN = "Not in the files of the run; to be stated by the authors."

_FIGSHARE = {
    "sources": (
        "Brain tumour data set of J. Cheng, doi 10.6084/m9.figshare.1512427, CC BY 4.0: contrast-enhanced T1 slices "
        "of two hospitals in China, 2005 to 2010."
    ),
    "eligibility": "As in Cheng et al., PLOS ONE 2015, doi 10.1371/journal.pone.0140381; not repeated in the files.",
    "reference_standard": (
        "The class of the tumour and its border as published with the data set; see Cheng et al., PLOS ONE 2015."
    ),
    "annotators": "Radiologists of the data set; see Cheng et al., PLOS ONE 2015.",
}


def data_facts(datalist: Mapping[str, Any], sha256: str, image_size: int) -> dict[str, str]:
    """Sources, pre-processing, partitions and counts.

    Args:
        datalist: Content of ``datalist.json``.
        sha256: Its digest.
        image_size: Rows and columns that the network sees, pixels.

    Returns:
        Sentences by name of the fact.
    """
    facts = {
        "sources": f"{datalist.get('description', UNKNOWN)}; source: {_source(datalist)}.",
        "eligibility": UNKNOWN,
        "reference_standard": f"One class a slice, as given by the source. {UNKNOWN}",
        "annotators": UNKNOWN,
    }
    if datalist.get("name") == FIGSHARE and class_names(datalist) == CLASSES:
        facts |= _FIGSHARE
    return facts | {
        "design": "Retrospective: images that had been collected before.",
        "preprocessing": _preprocessing(datalist, image_size),
        "subsets": f"{len(datalist.get('skipped', []))} slices were skipped as unusable; no other selection.",
        "elements": "Classes: " + ", ".join(f"{k} {name}" for k, name in enumerate(class_names(datalist))) + ".",
        "deidentification": f"Patient ids are those of the source; the network sees pixels alone. {UNKNOWN}",
        "missing": _missing(datalist),
        "annotator_variability": UNKNOWN,
        "sample_size": f"All slices that could be read: {_counts(datalist, 'all')}. No calculation of power was made.",
        "partitions": _partitions(datalist, sha256),
        "disjoint": (
            f"Patient family ({datalist.get('group_rule')}): ids that differ in a trailing letter alone, and patients "
            "that share an equal image, are kept together. Checked when the split is made and at every training."
        ),
        "external": _external(datalist),
        "flow": " ".join(f"{split.capitalize()}: {_counts(datalist, split)}." for split in _splits(datalist)),
        "characteristics": _characteristics(datalist),
    }


def _source(datalist: Mapping[str, Any]) -> str:
    source = datalist.get("source", {})
    return f"{source.get('kind', 'unknown')}, {source.get('files', '?')} files"


def _preprocessing(datalist: Mapping[str, Any], image_size: int) -> str:
    stored = datalist.get("preparation", {}).get("store_size")
    return (
        "The intensities of every slice are mapped from its percentiles 0.5 and 99.5 to 0 and 255 and stored at "
        f"{stored} x {stored} pixels by area averages; the network sees {image_size} x {image_size} pixels, 0 to 1."
    )


def _missing(datalist: Mapping[str, Any]) -> str:
    counts = datalist.get("counts", {})
    slices, masks = counts.get("slices"), counts.get("with_mask")
    return f"{masks} of {slices} slices have a tumour mask; a slice without one takes no part in what needs a mask."


def _partitions(datalist: Mapping[str, Any], sha256: str) -> str:
    shares = ", ".join(f"{split} {len(datalist[split])}" for split in _splits(datalist))
    file = datalist.get("folds_file")
    made = (
        f"fold {datalist.get('fold')} of {datalist.get('folds')} is the test"
        if datalist.get("folds")
        else ("everything is the test" if datalist.get("test") else "nothing is the test")
    )
    rule = f"the published folds ({file})" if file else f"at random by class, seed {datalist.get('seed')}"
    return f"Slices: {shares}; {made}; {rule}. SHA-256 of the datalist: {sha256}."


def _external(datalist: Mapping[str, Any]) -> str:
    if datalist.get("folds"):
        return "None: the test patients are of the same set as those that were learned from."
    if not datalist.get("test"):
        return "None: all patients of the set were learned from, and those of the folds are of the same set."
    return "Yes: no patient of this set was learned from."


def _characteristics(datalist: Mapping[str, Any]) -> str:
    parts = []
    for split in _splits(datalist):
        table = datalist["counts"]["table"].get(split, {})
        classes = [f"{name} {table[name]['slices']} slices of {table[name]['patients']} patients"
                   for name in class_names(datalist) if name in table]  # fmt: skip
        parts.append(f"{split.capitalize()}: {', '.join(classes)}.")
    return " ".join([*parts, "Age, sex and scanner are not in the files."])


def _counts(datalist: Mapping[str, Any], split: str) -> str:
    count = datalist["counts"]["table"].get(split, {}).get("all", {"slices": 0, "patients": 0, "families": 0})
    return f"{count['slices']} slices of {count['patients']} patients ({count['families']} families)"


def _splits(datalist: Mapping[str, Any]) -> list[str]:
    return [split for split in ("training", "validation", "test") if datalist.get(split)]
