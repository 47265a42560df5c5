"""``RUN/test_evidence.json``: what was found out about a run, section by section, each with where it comes from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdmri_monai.evaluation.metrics_file import METHOD, write_metrics
from kdmri_monai.evaluation.resampling import Resampling

FORMAT = "kdmri-evidence-2"
SAME = ("checkpoint_sha256", "datalist_sha256")
"""Fields of the provenance by which a section is known to be of these weights and these slices."""


def evidence_path(folder: Path, split: str) -> Path:
    """The file of a run folder."""
    return Path(folder) / f"{split}_evidence.json"


def read_evidence(path: Path) -> dict[str, dict[str, Any]]:
    """Sections by name; none where there is no file.

    Args:
        path: File that ``write_section`` wrote. Numbers that are not defined are ``None`` in it.

    Raises:
        ValueError: The file is not of this form; it is named.
        OSError: It cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON: {error}") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path}: format is {found!r}, expected {FORMAT!r}; kdmri examine --overwrite writes it anew")
    sections = content.get("sections")
    if not isinstance(sections, dict) or not all(isinstance(one, dict) for one in sections.values()):
        raise ValueError(f"{path}: `sections` must be an object of objects")
    return sections


def is_of(section: Mapping[str, Any], provenance: Mapping[str, Any]) -> bool:
    """Whether a section was found with these weights and these slices."""
    before = section.get("provenance")
    return isinstance(before, Mapping) and all(before.get(name) == provenance.get(name) for name in SAME)


def write_section(
    path: Path, name: str, found: Mapping[str, Any], provenance: Mapping[str, Any], resampling: Resampling
) -> None:
    """Adds a section to the file, or replaces it; the others stay.

    Args:
        path: File, made where it is missing, whole at every moment.
        name: Name of the section.
        found: JSON-able; NaN becomes null.
        provenance: Weights, slices and device that it was found with.
        resampling: How its intervals were found.

    Raises:
        ValueError: The file that is there is of another form.
        OSError: It cannot be written.
    """
    interval = {
        "method": METHOD,
        "level": resampling.level,
        "replicates": resampling.replicates,
        "seed": resampling.seed,
    }
    section = {**found, "interval": interval, "provenance": dict(provenance)}
    write_metrics({"format": FORMAT, "sections": {**read_evidence(path), name: section}}, path)
