"""Schedules at their corners."""

import math

import pytest

from kdmri_monai.losses import Constant, CosineRamp, DistillationTerm, LinearRamp, WeightedTerm


@pytest.mark.parametrize(
    ("schedule", "epoch", "expected"),
    [
        (Constant(), 0, 1.0),
        (Constant(start=2, stop=4), 1.99, 0.0),
        (Constant(start=2, stop=4), 2, 1.0),
        (Constant(start=2, stop=4), 4, 0.0),
        (LinearRamp(10), 0, 0.0),
        (LinearRamp(10), 2.5, 0.25),
        (LinearRamp(10), 10, 1.0),
        (LinearRamp(10), 99, 1.0),
        (LinearRamp(10, start=5), 10, 0.5),
        (LinearRamp(10, start=5, stop=20), 20, 0.0),
        (CosineRamp(10), 5, 0.5),
        (CosineRamp(10), 2.5, 0.5 - 0.5 * math.cos(math.pi / 4)),
        (CosineRamp(10, start=3), 3, 0.0),
        (CosineRamp(10, start=3, stop=20), 21, 0.0),
    ],
)
def test_factor(schedule, epoch, expected):
    assert schedule(epoch) == pytest.approx(expected)


def test_a_ramp_needs_a_length():
    with pytest.raises(ValueError, match="over 0 epochs is none"):
        LinearRamp(0)


class One(DistillationTerm):
    def forward(self, inputs):
        return inputs.student_logits.sum()


def test_a_weighted_term_multiplies_weight_and_schedule():
    assert WeightedTerm("one", One(), 3.0, LinearRamp(4)).weight_at(1) == pytest.approx(0.75)
    assert WeightedTerm("one", One(), 3.0).weight_at(100) == 3.0


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="weight of one is -1"):
        WeightedTerm("one", One(), -1)
