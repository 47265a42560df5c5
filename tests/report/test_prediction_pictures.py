"""Pictures of what the student says while it learns."""

import numpy as np
import pytest
import torch
from torch import nn

from kdmri_monai.report import board
from kdmri_monai.report.board import PredictionPictures

PLACE = {"meningioma": (4, 4), "glioma": (20, 4), "pituitary tumour": (20, 20)}


class BrightestCorner(nn.Module):
    """Says where the image is brightest; it is sure."""

    def __init__(self):
        super().__init__()
        self.unused = nn.BatchNorm2d(1)

    def forward(self, image):
        assert not self.unused.training
        return torch.stack([1e3 * image[:, 0, row, column] for row, column in PLACE.values()], dim=1)


def item(label, shown, mask=False):
    image = torch.zeros(1, 24, 24)
    row, column = list(PLACE.values())[shown]
    image[0, row, column] = 1.0
    return {"image": image, "label": label, **({"mask": image.clone()} if mask else {})}


@pytest.fixture
def drawn(monkeypatch):
    """The cells that were drawn last."""
    kept = []

    def grid(cells, **given):
        kept[:] = [cells, given]
        return original(cells, **given)

    original = board.prediction_grid
    monkeypatch.setattr(board, "prediction_grid", grid)
    return kept


def test_cells_hold_what_the_network_says_and_what_is_true(drawn):
    network = BrightestCorner().train()
    picture = PredictionPictures(network, [item(0, 1), item(2, 2, mask=True)], "cpu")(1)
    cells, given = drawn
    assert [(cell.true, cell.predicted) for cell in cells] == [
        ("meningioma", "glioma"),
        ("pituitary tumour", "pituitary tumour"),
    ]
    assert [cell.probability for cell in cells] == [1.0, 1.0]
    assert cells[0].mask is None
    assert np.argwhere(cells[1].mask).tolist() == [[20, 20]]
    assert given["total"] == 2
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.std() > 0
    assert network.training


def test_pictures_come_at_the_interval():
    pictures = PredictionPictures(BrightestCorner(), [item(0, 0)], "cpu", interval=3)
    assert [pictures(epoch) is None for epoch in range(1, 7)] == [True, True, False, True, True, False]


def test_slices_are_spread_over_the_dataset():
    pictures = PredictionPictures(BrightestCorner(), [item(0, 0)] * 101, "cpu", slices=5)
    assert pictures.places == [0, 25, 50, 75, 100]


def test_a_teacher_is_given_what_it_wants():
    class WantsMask(BrightestCorner):
        privileged_keys = ("mask",)

        def forward(self, image, mask):
            assert mask.shape == image.shape
            return super().forward(image)

    assert PredictionPictures(WantsMask(), [item(0, 0, mask=True)], "cpu")(1) is not None


@pytest.mark.parametrize(("given", "slices"), [({"interval": 0}, 1), ({"slices": 0}, 1), ({}, 0)])
def test_nothing_to_draw_is_refused(given, slices):
    with pytest.raises(ValueError, match="at least 1 of each is needed"):
        PredictionPictures(BrightestCorner(), [item(0, 0)] * slices, "cpu", **given)
