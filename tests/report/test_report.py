"""The report of a small study: what the files say, and no more than the intervals allow."""

import re
import shutil

import pytest
from typer.testing import CliRunner

from kdmri_monai.cli import app
from kdmri_monai.evaluation.evidence_file import evidence_path, write_section
from kdmri_monai.evaluation.intervals import Interval, seed_averaged
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.report.build import build_page
from kdmri_monai.report.figure_blocks import FigureBlocks
from kdmri_monai.report.material import gather
from kdmri_monai.report.page_model import Details, FigureBlock, SliceGrid, Table, Text
from kdmri_monai.report.sections.headline import verdict

NUM = {"value": 0.6, "low": 0.5, "high": 0.7}


def evidence(run):
    """Sections as an examination writes them, with made-up numbers."""
    control = {"group": "network", "metric": "balanced_accuracy", "chance": 1 / 3, "null_low": 0.2, "null_high": 0.45,
               "n": 30, "families": 6, "explains": "Why.", **NUM}  # fmt: skip
    rows = [
        control | {"name": "intact", "title": "Slice as it is", "caught": None},
        control | {"name": "erased_inpaint", "title": "Tumour erased, inpainted", "caught": True},
    ]
    heat = ("energy", "area", "energy_over_area", "pointing_game", "pointing_minus_chance", "iou", "iou_minus_chance")
    method = {"method": "grad_cam", "layer": "layer3", "randomised": {"similarity": NUM, "energy_over_area": NUM}}
    corruption = {"name": "blur", "title": "Blur", "unit": "pixels", "parameters": [1, 2, 3, 4, 5],
                  "balanced_accuracy": [NUM] * 5, "relative_degradation": NUM}  # fmt: skip
    timing = {"device": "cpu", "threads": 1, "batch": 1, "p50_ms": 2.0, "p95_ms": 3.0, "repeats": 9}
    sections = {
        "network_controls": {"rows": rows},
        "data_controls": {"rows": [control | {"name": "low", "title": "Low", "caught": True, "group": "features"}]},
        "localisation": {"slices": 30, "methods": [method | dict.fromkeys(heat, NUM)]},
        "predicted_mask": {"skipped": "ResNet predicts no tumour"},
        "robustness": {"slices": 30, "families": 6, "intact": NUM, "corruptions": [corruption],
                       "mean_relative_degradation": NUM},
        "efficiency": {"parameters": 1000 if "teacher" not in run.name else 9000, "macs": 5, "state_bytes": 7,
                       "latency": [timing]},
    }  # fmt: skip
    for name, section in sections.items():
        write_section(evidence_path(run, "test"), name, section, {}, Resampling())


@pytest.fixture(scope="module")
def examined(study, tmp_path_factory):
    home = tmp_path_factory.mktemp("examined")
    folders = [shutil.copytree(folder, home / folder.name) for folder in study.folders]
    for folder in folders:
        evidence(folder)
    return folders


@pytest.fixture(scope="module")
def material(examined):
    return gather(examined)


@pytest.fixture(scope="module")
def page(material):
    return build_page(material, FigureBlocks())


def blocks_of(page, kind):
    def inner(blocks):
        for block in blocks:
            yield block
            if isinstance(block, Details):
                yield from inner(block.blocks)

    return [block for section in page.sections for block in inner(section.blocks) if isinstance(block, kind)]


def test_every_part_that_a_reviewer_asks_for_is_there(page):
    assert [section.key for section in page.sections] == [
        "headline", "training", "slices", "transfer", "decisions", "calibration", "strata", "controls", "localisation",
        "robustness", "data", "settings", "limits",
    ]  # fmt: skip
    assert not [text.words for text in blocks_of(page, Text) if "Not examined" in text.words]
    keys = {figure.key for figure in blocks_of(page, FigureBlock)}
    assert {"headline", "differences", "curves_baseline", "curves_distilled", "confusion_distilled_slices",
            "roc_distilled", "reliability_distilled", "risk_coverage", "strata", "controls", "robustness",
            "cost_parameters", "cost_latency", "slices_few", "terms_distilled"} <= keys  # fmt: skip


def test_the_headline_is_what_the_tables_give(page, material):
    found = seed_averaged(material.student.tables, material.baseline.tables)["balanced_accuracy"]
    words = " ".join(page.lead)
    assert f"{100 * found.estimate:+.1f}".replace("-", "\N{MINUS SIGN}") in words
    assert {tile.label for tile in page.tiles} == {
        "Teacher, balanced accuracy",
        "Baseline, balanced accuracy",
        "Distilled, balanced accuracy",
        "Distilled minus baseline",
    }
    assert "whom no network has learned from" in words


@pytest.mark.parametrize(
    ("low", "high", "p", "words"),
    [
        (-0.01, 0.05, 0.001, "do not tell the two apart"),
        (0.01, 0.05, 0.2, "not told from chance once all arms are counted"),
        (0.01, 0.05, 0.01, "the distilled student is higher on these patients"),
        (-0.05, -0.01, 0.01, "the distilled student is lower on these patients"),
    ],
)
def test_a_difference_is_claimed_by_interval_and_test_together(low, high, p, words):
    assert words in verdict(Interval((low + high) / 2, low, high, 0.95, 2000, 30), p)


def test_every_slice_is_there_with_the_answers_of_the_three(page, material):
    [grid] = blocks_of(page, SliceGrid)
    assert {card.id for card in grid.cards} == set(material.table.id.tolist())
    assert grid.runs == ("distilled", "baseline", "teacher")
    table = material.student.tables[0]
    for card in grid.cards:
        row = table.id.tolist().index(card.id)
        assert card.answers[0].predicted == table.prediction[row]
        assert card.label == table.label[row]
        assert card.border.startswith("M")


def test_tables_have_a_row_for_every_arm(page):
    arms = next(table for table in blocks_of(page, Table) if table.key == "arms")
    assert [row[0].text for row in arms.rows] == ["teacher", "baseline", "distilled"]
    assert [row[1].text for row in arms.rows] == ["1", "2", "2"]


def test_shortcuts_are_warned_of_by_arm_and_data(page):
    warnings = [text.words for text in blocks_of(page, Text) if text.kind == "warning"]
    words = "distilled answers above chance without the tumour: tumour erased, inpainted 60, 60 % (2 of 2 runs)."
    assert words in warnings
    assert "teacher answers above chance without the tumour: tumour erased, inpainted 60 %." in warnings
    assert "In these slices the class can be told without any network: low 60 %." in warnings


def test_what_is_missing_is_said_and_how_to_get_it(study):
    words = [text.words for text in blocks_of(build_page(gather(study.folders), FigureBlocks()), Text)]
    assert sum("kdmri examine" in one for one in words) >= 4


def test_a_single_run_has_a_report_too(study):
    page = build_page(gather(study.folders[1:2]), FigureBlocks())
    assert any("No teacher is among the runs" in text.words for text in blocks_of(page, Text))
    assert [tile.label for tile in page.tiles] == ["Baseline, balanced accuracy"]


def test_the_command_writes_the_page_and_its_figures(examined, tmp_path):
    out = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["report", *map(str, examined), "--no-examine", "--out", str(out)])
    assert done.exit_code == 0, done.output
    text = out.read_text()
    assert text.startswith("<!doctype html>")
    assert len(text) < 8e6
    assert re.search(r"<title>Knowledge distillation", text)
    files = {file.name for file in (tmp_path / "report_figures").iterdir()}
    assert {"slices.png", "slices.pdf", "curves_distilled.pdf", "headline.png"} <= files


def test_wrong_input_ends_in_one_line(study, tmp_path):
    done = CliRunner().invoke(
        app, ["report", str(tmp_path / "nothing"), "--no-examine", "--out", str(tmp_path / "r.html")]
    )
    assert done.exit_code == 1
    assert "nothing" in done.output
    assert not (tmp_path / "r.html").exists()


def test_the_card_command_writes_both_documents(study, tmp_path):
    done = CliRunner().invoke(app, ["card", str(study.folders[-1]), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert {file.name for file in tmp_path.iterdir()} == {"MODEL_CARD.md", "CLAIM.md"}
