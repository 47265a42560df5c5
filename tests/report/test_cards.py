"""Model card and checklist: every sentence from the files of the run, and nothing made up where they are silent."""

import json
import re
import shutil
from pathlib import Path

import pytest

from kdmri_monai.evaluation.evidence_file import evidence_path, write_section
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.report.cards.claim_items import CLAIM_ITEMS
from kdmri_monai.report.cards.documents import AUTHORS, claim_checklist, model_card, write_documents
from kdmri_monai.report.cards.run_facts import run_facts
from kdmri_monai.report.cards.training_facts import definition_words

NUM = {"value": 0.5, "low": 0.25, "high": 0.75}


@pytest.fixture
def run(study, tmp_path):
    return shutil.copytree(study.home / "distilled_1", tmp_path / "distilled_1")


def test_every_item_of_the_checklist_is_there_once_and_in_order(run):
    text = claim_checklist(run_facts(run))
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == list(range(1, 43))
    assert len(CLAIM_ITEMS) == 42


def test_what_the_files_do_not_know_is_left_to_the_authors_and_counted(run):
    text = claim_checklist(run_facts(run))
    left = text.count(AUTHORS)
    assert f"{42 - left} of 42 items" in text
    for item in (2, 4, 40, 42):
        assert AUTHORS in next(line for line in text.splitlines() if line.startswith(f"| {item} |"))


def test_the_card_says_the_numbers_of_the_run(run):
    text = model_card(run_facts(run))
    metrics = json.loads((run / "test_metrics.json").read_text())
    value = metrics["patients"]["balanced_accuracy"]
    words = f"{100 * value['value']:.1f} ({100 * value['low']:.1f}\N{EN DASH}{100 * value['high']:.1f})"
    assert words in text
    record = json.loads((run / "run.json").read_text())
    for told in (record["data"]["sha256"], "1,234 parameters", "by knowledge distillation", "epoch 3 of 3", "abc123"):
        assert told in text
    assert "no class for a healthy scan" in text


def test_a_phantom_set_is_not_given_the_history_of_the_figshare_set(run):
    text = claim_checklist(run_facts(run))
    datalist = Path(json.loads((run / "run.json").read_text())["data"]["datalist"])
    assert json.loads(datalist.read_text())["name"] != "figshare"
    assert "PLOS ONE 2015" not in text
    assert "hospitals in China" not in text


def test_what_was_not_examined_is_said_to_be_missing(run):
    facts = run_facts(run)
    assert facts.facts["robustness"].startswith("Not examined")
    assert model_card(facts).count("Not examined") == 3


def test_examined_parts_are_told_with_their_chance(run):
    rows = [
        {"name": "erased_inpaint", "title": "Tumour erased, inpainted", "caught": True, "chance": 1 / 3, **NUM},
        {"name": "intact", "title": "Slice as it is", "caught": None, "chance": 1 / 3, **NUM},
    ]
    heat = dict.fromkeys(("energy", "area", "pointing_game", "pointing_chance"), NUM)
    sections = {
        "network_controls": {"rows": rows},
        "robustness": {
            "slices": 40,
            "corruptions": [
                {"title": "Blur", "relative_degradation": NUM | {"value": 0.1}},
                {"title": "Motion", "relative_degradation": NUM | {"value": 0.9}},
            ],
            "mean_relative_degradation": NUM,
        },
        "localisation": {"methods": [{"method": "grad_cam", "layer": "layer3", **heat}]},
        "efficiency": {"macs": 12345, "state_bytes": 6789},
    }
    for name, section in sections.items():
        write_section(evidence_path(run, "test"), name, section, {}, Resampling())
    text = model_card(run_facts(run))
    assert "| Tumour erased, inpainted | 50.0 (25.0\N{EN DASH}75.0) | 33.3 | above chance |" in text
    assert "| Slice as it is | 50.0 (25.0\N{EN DASH}75.0) | 33.3 | says nothing by itself |" in text
    assert "most under motion (90.0" in text
    assert "grad cam at `layer3`" in text
    assert "12,345 multiply-accumulates" in text


def test_a_network_that_is_given_the_mask_is_marked(study, tmp_path):
    record = json.loads((study.home / "teacher" / "run.json").read_text())
    settings = record["settings"] | {"network_uses": "image, maps from the tumour mask: distance"}
    run = study.write_run(tmp_path / "teacher", study.dataset, settings=settings)
    assert "cannot be used where there is no mask" in model_card(run_facts(run))


def test_both_documents_are_written(run, tmp_path):
    files = write_documents(run_facts(run), tmp_path / "out")
    assert [file.name for file in files] == ["MODEL_CARD.md", "CLAIM.md"]
    assert all(file.read_text().endswith("\n") for file in files)


@pytest.mark.parametrize(("missing", "words"), [("test_metrics.json", "evaluate the run first"), ("run.json", "run")])
def test_a_missing_file_is_named(run, missing, words):
    (run / missing).unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=words) as refused:
        run_facts(run)
    assert missing in str(refused.value)


def test_another_datalist_is_refused(run, study, tmp_path):
    other = tmp_path / "datalist.json"
    other.write_text((study.dataset / "datalist.json").read_text() + "\n")
    with pytest.raises(ValueError, match="SHA-256"):
        run_facts(run, datalist=other)


def test_references_to_numbers_are_told_as_numbers():
    definition = {"_target_": "resnet10", "num_classes": "@num_classes", "width": "@width", "norm": "@norm", "size": 3}
    config = {"network_def": "%student_def", "student_def": definition, "num_classes": 4, "width": "$1 / 2", "norm": []}
    assert definition_words(config, "network_def") == "resnet10(num_classes=4, width=@width, norm=@norm, size=3)"
