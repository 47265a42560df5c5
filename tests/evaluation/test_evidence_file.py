"""Sections of an evidence file: added one by one, told from those of other weights."""

import json
import math

import pytest

from kdmri_monai.evaluation.evidence_file import evidence_path, is_of, read_evidence, write_section
from kdmri_monai.evaluation.resampling import Resampling

ORIGIN = {"checkpoint_sha256": "a", "datalist_sha256": "b", "device": "cpu"}


@pytest.fixture
def path(tmp_path):
    return evidence_path(tmp_path, "test")


def test_no_file_has_no_sections(path):
    assert read_evidence(path) == {}


def test_sections_are_added_and_replaced(path):
    write_section(path, "robustness", {"value": 1.0}, ORIGIN, Resampling(10, 0.9, 3))
    write_section(path, "efficiency", {"value": math.nan}, ORIGIN, Resampling())
    write_section(path, "robustness", {"value": 2.0}, ORIGIN, Resampling(20, 0.9, 3))
    sections = read_evidence(path)
    assert sections.keys() == {"robustness", "efficiency"}
    assert sections["robustness"]["value"] == 2.0
    assert sections["efficiency"]["value"] is None
    assert sections["robustness"]["interval"]["replicates"] == 20
    assert sections["robustness"]["interval"]["seed"] == 3


def test_a_section_is_of_its_weights_and_slices_on_any_device(path):
    write_section(path, "robustness", {}, ORIGIN, Resampling())
    section = read_evidence(path)["robustness"]
    assert is_of(section, {**ORIGIN, "device": "cuda"})
    assert not is_of(section, {**ORIGIN, "checkpoint_sha256": "c"})
    assert not is_of(section, {**ORIGIN, "datalist_sha256": "c"})
    assert not is_of({}, ORIGIN)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "format is None"),
        (json.dumps({"format": "kdmri-evidence-1"}), "'kdmri-evidence-1'"),
        (json.dumps({"format": "kdmri-evidence-2", "sections": [1]}), "`sections`"),
    ],
)
def test_another_file_is_refused_and_kept(path, content, words):
    path.write_text(content)
    with pytest.raises(ValueError, match=words) as refused:
        write_section(path, "robustness", {}, ORIGIN, Resampling())
    assert str(path) in str(refused.value)
    assert path.read_text() == content
