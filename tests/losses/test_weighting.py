"""Terms as a configuration lists them: name, weight, schedule, taps, arguments."""

import pytest
import torch

from kdmri_monai.losses import Constant, CosineRamp, LinearRamp, SoftTargets, Terms, WeightedTerm, make_schedule
from kdmri_monai.losses.terms import DistillationTerm

NAMES = [
    *("kd", "rsd", "token_gram", "hcl", "rings", "vkd", "rkd", "ofa", "lelp", "procrustes", "at", "energy_geometry"),
    *("geometry", "dkd", "dist", "ls", "nkd", "fitnet", "infonce"),
]


@pytest.mark.parametrize("name", NAMES)
def test_every_term_of_the_issue_can_be_had_by_name(name):
    term = WeightedTerm(name).term
    assert isinstance(term, DistillationTerm)
    assert type(term).__doc__
    assert Terms[name] is type(term)


def test_the_catalogue_holds_no_other_terms():
    assert sorted(known.lower() for known in Terms.names) == sorted(NAMES)


def test_a_term_may_have_a_name_of_its_own():
    warm = WeightedTerm("kd_warm", "kd", weight=0.5, arguments={"temperature": 8.0})
    assert warm.name == "kd_warm"
    assert warm.term.temperature == 8.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "kdd"}, "there is no term 'kdd'; known are"),
        ({"name": "kd", "weight": -1.0}, "weight of kd is -1.0, it must not be negative"),
        ({"name": "kd", "arguments": {"heat": 2}}, r"term kd \(kd\): .*'heat'"),
        ({"name": "kd", "taps": {"pupil": []}}, r"taps of kd name \['pupil'\]"),
        ({"name": "kd", "term": SoftTargets(), "arguments": {"temperature": 1.0}}, "came beside a term"),
        ({"name": "kd", "schedule": {"shape": "square"}}, "schedule of shape 'square'; known are constant, linear"),
        ({"name": "kd", "schedule": {"shape": "constant", "epochs": 3}}, "of shape constant"),
    ],
)
def test_mistakes_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        WeightedTerm(**fields)


def test_schedules_come_from_their_shape_and_fields():
    assert make_schedule(None) == make_schedule("constant") == Constant()
    assert make_schedule({"shape": "linear", "epochs": 4, "start": 2, "stop": None}) == LinearRamp(4, start=2)
    assert make_schedule({"shape": "cosine", "epochs": 4}) == CosineRamp(4)
    assert make_schedule({"start": 3, "stop": 5}) == Constant(3, 5)
    weights = WeightedTerm("kd", weight=2.0, schedule={"shape": "linear", "epochs": 4, "start": 2, "stop": 8})
    assert [weights.weight_at(epoch) for epoch in (0, 2, 4, 6, 7.9, 8)] == [0, 0, 1, 2, 2, 0]


def test_a_term_that_is_made_is_taken_as_it_is():
    term = SoftTargets(3.0)
    assert WeightedTerm("mine", term).term is term
    assert isinstance(WeightedTerm("mine", term), torch.nn.Module)
