"""Runs in their roles: found out from their records, and refused where they do not belong together."""

import json
import shutil

import pytest

from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.evidence_file import evidence_path, write_section
from kdmri_monai.evaluation.predictions_file import read_predictions, write_predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.report.material import gather


def roles(material):
    return {member.name: (member.role, len(member.runs)) for member in material.members}


def test_roles_come_from_the_records(study):
    found = roles(gather(study.folders))
    assert found == {"teacher": ("teacher", 1), "baseline": ("baseline", 2), "distilled": ("distilled", 2)}
    assert list(found) == ["teacher", "baseline", "distilled"]


def test_a_teacher_that_was_moved_is_still_one(study, tmp_path):
    folders = [shutil.copytree(folder, tmp_path / folder.name) for folder in study.folders]
    assert roles(gather(folders))["teacher"] == ("teacher", 1)


def test_the_reference_can_be_named(study):
    material = gather(study.folders, reference="distilled")
    assert material.baseline.name == "distilled"
    assert roles(material)["baseline"][0] == "other"


def test_an_unknown_reference_is_refused(study):
    with pytest.raises(ComparisonError, match=r"'nobody'; the arms are teacher, baseline, distilled"):
        gather(study.folders, reference="nobody")


def test_no_runs_are_refused():
    with pytest.raises(ComparisonError, match="no runs"):
        gather([])


def test_runs_over_other_slices_are_refused_and_named(study, tmp_path):
    run = shutil.copytree(study.folders[1], tmp_path / "odd")
    table = read_predictions(run / "test_predictions.csv")
    write_predictions(table.take(slice(1, None)), run / "test_predictions.csv")
    with pytest.raises(ComparisonError, match="odd"):
        gather([*study.folders[:1], run, study.folders[3]])


def test_another_datalist_is_refused(study, tmp_path):
    (tmp_path / "datalist.json").write_text((study.dataset / "datalist.json").read_text() + " ")
    with pytest.raises(ComparisonError, match="SHA-256"):
        gather(study.folders, dataset_dir=tmp_path)


def test_without_the_datalist_there_are_tables_and_no_entries(study, tmp_path):
    material = gather(study.folders, dataset_dir=tmp_path / "gone")
    assert material.entries == {}
    assert len(material.table) > 0


def test_entries_and_areas_are_those_of_the_tested_slices(study):
    material = gather(study.folders)
    assert set(material.entries) == set(material.table.id.tolist())
    assert all(0 < area < 0.5 for area in material.areas.values())


def test_a_run_that_has_learned_from_tested_patients_is_told(study, tmp_path):
    run = shutil.copytree(study.folders[1], tmp_path / "leaky")
    record = json.loads((run / "run.json").read_text())
    tested = read_predictions(run / "test_predictions.csv").family.tolist()
    record["data"]["training_families"].append(tested[0])
    (run / "run.json").write_text(json.dumps(record))
    assert gather(study.folders).leaks == {}
    [(name, words)] = gather([run, *study.folders[3:]]).leaks.items()
    assert name.endswith("leaky")
    assert "1 of" in words


def test_evidence_of_other_weights_is_refused(study, tmp_path):
    run = shutil.copytree(study.folders[1], tmp_path / "run")
    (run / "model.pt").write_bytes(b"weights")
    write_section(evidence_path(run, "test"), "robustness", {}, {"checkpoint_sha256": "other"}, Resampling())
    [member] = gather([run]).members
    with pytest.raises(ValueError, match="robustness was examined with other weights"):
        member.sections("robustness")
