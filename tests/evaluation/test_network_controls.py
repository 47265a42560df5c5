"""Controls of networks whose behaviour is known by construction. References: scikit-learn and plain loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from kdmri_monai.evaluation.control_rows import decision_row
from kdmri_monai.evaluation.errors import PredictionError
from kdmri_monai.evaluation.network_controls import network_controls
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling

FEW = Resampling(300)
SIZE, PATCH = 32, 5
CLASSES = ("smooth", "lobed", "ringed")
LEVELS = torch.tensor([0.5, 0.7, 0.9])
NAMES = ["intact", "erased_mean", "erased_black", "erased_inpaint", "erased_matched", "tumour_only", "background_only"]
JUDGED = [*NAMES[1:5], NAMES[6]]


class Brightest(nn.Module):
    """The class whose level is the nearest to the brightest pixel of the slice, or of some of its rows."""

    def __init__(self, rows=slice(None)):
        super().__init__()
        self.rows = rows

    def forward(self, image):
        return -100 * (image[:, :, self.rows].amax((2, 3)) - LEVELS).abs()


class GivenMask(nn.Module):
    """Answers by the size of the tumour, which it is given."""

    privileged_keys = ("mask",)

    def forward(self, image, mask):
        return -(mask.sum((1, 2, 3))[:, None] - torch.tensor([16.0, 25.0, 36.0])).abs()


def marked_slices(families=24, per_family=3, corner=False, sides=(PATCH,) * 3, seed=0):
    """The brightness of the tumour is its class, and with ``corner`` that of a mark in the corner too."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(families), per_family)
    label = number % 3
    image = 0.1 + 0.1 * rng.random((len(number), 1, SIZE, SIZE))
    mask = np.zeros_like(image)
    for k, (row, column) in enumerate(rng.integers(8, SIZE - 10, (len(number), 2))):
        mask[k, 0, row : row + sides[label[k]], column : column + sides[label[k]]] = 1
    level = LEVELS.numpy()[label][:, None, None, None]
    image = np.where(mask > 0, level, image)
    if corner:
        image[:, :, :2, :2] = level
    return {
        "image": torch.from_numpy(image).float(),
        "label": torch.from_numpy(label),
        "mask": torch.from_numpy(mask).float(),
        "has_mask": torch.ones(len(number), dtype=torch.bool),
        "id": [f"s{k}" for k in range(len(number))],
        "patient": [f"p{k}" for k in number],
        "family": [f"f{k}" for k in number],
    }


def in_batches(slices, size=7):
    for at in range(0, len(slices["label"]), size):
        yield {key: value[at : at + size] for key, value in slices.items()}


def controls(network, slices, **more):
    rows = network_controls(network, in_batches(slices), "cpu", CLASSES, **{"resampling": FEW, **more})
    assert [row.name for row in rows] == NAMES
    return {row.name: row for row in rows}


def test_a_network_that_reads_the_tumour_is_not_caught():
    found = controls(Brightest(), marked_slices())
    assert found["intact"].value == found["tumour_only"].value == 1
    for name in JUDGED:
        assert found[name].value == pytest.approx(1 / 3)
        assert found[name].caught is False
    assert found["intact"].caught is None
    assert found["tumour_only"].caught is None


def test_a_network_that_reads_the_corner_is_caught():
    found = controls(Brightest(slice(0, 3)), marked_slices(corner=True))
    for name in JUDGED:
        assert found[name].value == 1
        assert found[name].caught is True
        assert found[name].low > found[name].null_high > 1 / 3
    assert found["tumour_only"].value == pytest.approx(1 / 3)


def test_a_network_that_is_given_the_mask_catches_nothing_and_says_why():
    found = controls(GivenMask(), marked_slices(sides=(4, 5, 6)))
    for name in JUDGED:
        assert found[name].value == 1
        assert found[name].caught is None
        assert "is given the tumour mask" in found[name].explains
    assert "is given" not in found["intact"].explains


def test_the_square_hides_the_size_that_other_holes_show():
    """A network that counts black pixels tells the class from the hole, and not from the square."""

    class Holes(nn.Module):
        def forward(self, image):
            return -((image == 0).sum((1, 2, 3))[:, None] - torch.tensor([16.0, 25.0, 36.0])).abs()

    found = controls(Holes(), marked_slices(sides=(4, 5, 6)), margin=0)
    assert found["erased_black"].value == 1
    assert found["background_only"].value == pytest.approx(1 / 3)
    assert found["erased_matched"].value == pytest.approx(1 / 3)
    assert found["erased_black"].low > found["erased_black"].null_high
    assert found["erased_black"].caught is None
    assert "the hole may have told" in found["erased_black"].explains
    assert "6 pixels a side" in found["background_only"].explains


def test_slices_with_tumours_larger_than_the_square_are_left_out_and_counted():
    slices = marked_slices(families=60)
    slices["mask"][0, :, 6:26, 6:26] = 1
    row = controls(Brightest(), slices)["background_only"]
    assert row.n == 179
    assert f"{PATCH + 4} pixels a side; slices left out with larger tumours: 1." in row.explains


def test_tumours_that_leave_no_room_for_a_square_leave_the_other_rows():
    found = controls(Brightest(), marked_slices(sides=(6, 6, 6)), margin=13)
    assert np.isnan(found["background_only"].value)
    assert "a square of one side would leave nothing" in found["background_only"].explains
    assert found["erased_black"].value == pytest.approx(1 / 3)


def test_slices_without_mask_are_left_out():
    slices = marked_slices()
    some = {**slices, "has_mask": torch.arange(72) % 2 == 0}
    some["mask"] = slices["mask"] * some["has_mask"][:, None, None, None]
    found = controls(Brightest(), some)
    assert {row.n for row in found.values()} == {36}
    assert {row.families for row in found.values()} == {24}
    nothing = controls(Brightest(), {**slices, "has_mask": torch.zeros(72, dtype=torch.bool)})
    for row in nothing.values():
        assert np.isnan([row.value, row.low, row.null_high]).all()
        assert (row.caught, row.n, row.chance) == (None, 0, pytest.approx(1 / 3))
        assert "No slice has a mask" in row.explains


def test_the_network_is_left_in_its_mode_and_batches_do_not_matter():
    network, slices = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(SIZE**2, 3)).train(), marked_slices()
    found = controls(network, slices)
    assert network.training
    whole = network_controls(network, [slices], "cpu", CLASSES, FEW)
    assert [row.value for row in whole] == pytest.approx([row.value for row in found.values()])


def test_wrong_batches_are_refused():
    slices = marked_slices()
    with pytest.raises(ValueError, match="needs mask in every batch"):
        controls(Brightest(), {key: value for key, value in slices.items() if key != "mask"})
    with pytest.raises(PredictionError, match="already stands in row"):
        controls(Brightest(), {**slices, "id": ["same"] * 72})
    with pytest.raises(PredictionError, match="probabilities have shape"):
        network_controls(Brightest(), [slices], "cpu", CLASSES[:2], FEW)


def table_of(share, families=30, per_family=6, seed=0):
    """Decisions of which this share is right, family by family at random."""
    rng = np.random.default_rng(seed)
    family = np.repeat(np.arange(families), per_family)
    label = family % 3
    decided = np.where(rng.random(len(family)) < share, label, rng.integers(0, 3, len(family)))
    names = [column.astype(str) for column in (np.arange(len(family)), family, family)]
    return Predictions(*names, label, np.eye(3)[decided], CLASSES)


def reference_null(table, draws=600):
    rng = np.random.default_rng(1)
    _, first, row = np.unique(table.family, return_index=True, return_inverse=True)
    own = table.label[first]
    scores = [balanced_accuracy_score(rng.permutation(own)[row], table.prediction) for _ in range(draws)]
    return np.quantile(scores, (0.025, 0.975))


def test_a_row_has_the_numbers_of_scikit_learn_beside_the_range_of_permuted_labels():
    table = table_of(0.4)
    row = decision_row(table, "a", "A", "network", "Why.", Resampling(), judged=True)
    assert row.value == pytest.approx(balanced_accuracy_score(table.label, table.prediction))
    assert row.low < row.value < row.high
    assert [row.null_low, row.null_high] == pytest.approx(reference_null(table), abs=0.03)
    assert (row.chance, row.n, row.families) == (pytest.approx(1 / 3), 180, 30)
    assert row.as_dict()["group"] == "network"
    assert list(row.as_dict()) == [
        *("name", "title", "group", "value", "low", "high", "metric", "chance", "null_low", "null_high", "caught"),
        *("n", "families", "explains"),
    ]


def test_the_verdict_is_rarely_wrong_and_finds_what_is_there():
    def caught(share):
        rows = (
            decision_row(table_of(share, seed=seed), "a", "A", "network", "", FEW, judged=True) for seed in range(60)
        )
        return np.mean([row.caught for row in rows])

    assert caught(0.0) <= 0.02
    assert caught(0.5) >= 0.95


def test_nothing_is_judged_where_an_interval_is_not_defined():
    table = table_of(1.0, families=3)
    row = decision_row(table, "a", "A", "network", "", FEW, judged=True)
    assert np.isnan(row.low)
    assert row.caught is None
    assert replace(row, caught=True).as_dict()["caught"] is True
