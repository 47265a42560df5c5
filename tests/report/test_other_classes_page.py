"""Report and cards of two and of six classes: every part is drawn, and no tumour of another set is named."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.report.board import PredictionPictures
from kdmri_monai.report.build import build_page
from kdmri_monai.report.cards.documents import claim_checklist, model_card
from kdmri_monai.report.cards.run_facts import run_facts
from kdmri_monai.report.class_words import intended_use, limitations
from kdmri_monai.report.figure_blocks import FigureBlocks
from kdmri_monai.report.material import gather
from kdmri_monai.report.page import render
from kdmri_monai.report.page_model import Details, FigureBlock, SliceGrid, Table

NAMES = ("low grade", "high grade", "no tumour seen", "abscess", "grade (2+)", "other")
FOREIGN = re.compile("meningioma|glioma|pituitary|three tumours|[Ff]igshare", re.IGNORECASE)


@pytest.fixture(scope="module", params=[2, 6])
def small_study(request, study, tmp_path_factory):
    """Names of K classes, and run folders of three arms on a dataset of them."""
    classes, home = NAMES[: request.param], tmp_path_factory.mktemp(f"classes{request.param}")
    for number in range(20 * len(classes)):
        patient, label = number // 2, number // 2 % len(classes)
        folder = home / "source" / classes[label].replace(" ", "_") / f"p{patient}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    options = PrepareOptions(store_size=32, workers=1, classes=classes)
    prepare_dataset(home / "source", home / "D", options, SplitOptions(), progress=False)
    return classes, [study.write_run(home / name, home / "D") for name in ("teacher", "baseline_0", "distilled_0")]


@pytest.fixture(scope="module")
def drawn(small_study):
    """Names, folders, the page, and its text."""
    classes, folders = small_study
    page = build_page(gather(folders), FigureBlocks())
    return classes, folders, page, render(page)


def blocks_of(page, kind):
    def inner(blocks):
        for block in blocks:
            yield block
            if isinstance(block, Details):
                yield from inner(block.blocks)

    return [block for section in page.sections for block in inner(section.blocks) if isinstance(block, kind)]


def test_every_class_has_its_row_its_curve_and_its_place_in_the_matrix(drawn):
    classes, _, page, _ = drawn
    tables = {table.key: table for table in blocks_of(page, Table)}
    assert [row[0].text for row in tables["counts_0"].rows] == [*classes, "all"]
    by_class = next(table for key, table in tables.items() if key == "classes")
    told = {cell.text for row in by_class.rows for cell in row}
    assert set(classes) <= told
    assert blocks_of(page, SliceGrid)[0].classes == classes
    figures = {figure.key: figure.svg for figure in blocks_of(page, FigureBlock)}
    for key in ("confusion_distilled_slices", "roc_distilled", "strata"):
        assert key in figures, key
    for word in {word for name in classes for word in name.split()}:
        assert word in figures["confusion_distilled_slices"], word


def test_curves_of_classes_differ_in_colour_or_dash(drawn):
    classes, _, page, _ = drawn
    svg = next(figure.svg for figure in blocks_of(page, FigureBlock) if figure.key == "roc_distilled")
    for name in classes:
        assert name in svg
    colours = set(re.findall(r"stroke: ?(#[0-9a-fA-F]{6})", svg))
    assert len(colours) >= len(classes)


def test_nothing_is_said_of_the_tumours_of_another_set(drawn):
    _, folders, _, text = drawn
    assert not FOREIGN.search(text)
    assert "brain-tumour MRI" not in text
    facts = run_facts(folders[2])
    card, claim = model_card(facts), claim_checklist(facts)
    assert not FOREIGN.search(card)
    assert not FOREIGN.search(claim)


def test_the_card_counts_and_names_the_classes(drawn):
    classes, folders, _, _ = drawn
    card = model_card(run_facts(folders[2]))
    assert f"logits of {len(classes)} classes" in card
    assert f"one of {len(classes)} classes ({', '.join(classes)})" in card
    for name in classes:
        assert f"| {name} | 4 |" in card  # test slices, two of each of two patients


def test_metrics_of_two_classes_are_those_of_scikit_learn(small_study):
    import csv

    from sklearn.metrics import accuracy_score, roc_auc_score

    classes, folders = small_study
    with (folders[2] / "test_predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    label = np.array([int(row["label"]) for row in rows])
    columns = [column for column in rows[0] if column.startswith("p_")]
    assert columns == ["p_" + name.replace(" ", "_") for name in classes]
    probabilities = np.array([[float(row[column]) for column in columns] for row in rows])
    metrics = json.loads((folders[2] / "test_metrics.json").read_text())
    areas = [roc_auc_score(label == k, probabilities[:, k]) for k in range(len(classes))]
    assert metrics["classes"] == list(classes)
    assert metrics["slices"]["macro_auroc"]["value"] == pytest.approx(np.mean(areas))
    assert metrics["slices"]["accuracy"]["value"] == pytest.approx(accuracy_score(label, probabilities.argmax(1)))
    assert np.array(metrics["slices"]["confusion_matrix"]).shape == (len(classes),) * 2
    assert metrics["slices"]["strata"] == {}


def test_the_three_tumours_keep_their_words():
    three = ("meningioma", "glioma", "pituitary tumour")
    assert "one of three tumours" in intended_use(three)
    assert "Figshare" in limitations(three)
    assert not FOREIGN.search(intended_use(three[::-1]).replace("pituitary tumour, glioma, meningioma", ""))


def test_pictures_of_tensorboard_bear_the_names(monkeypatch):
    import torch

    drawn = []
    monkeypatch.setattr("kdmri_monai.report.board.prediction_grid", lambda cells, total: drawn.extend(cells))
    monkeypatch.setattr("kdmri_monai.report.board.pixels", lambda figure: np.zeros((1, 1, 3), np.uint8))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 5))
    slices = [{"image": torch.zeros(1, 4, 4), "label": label} for label in range(5)]
    PredictionPictures(network, slices, "cpu", classes=NAMES[:5])(1)
    assert [cell.true for cell in drawn] == list(NAMES[:5])
    assert {cell.predicted for cell in drawn} <= set(NAMES[:5])
