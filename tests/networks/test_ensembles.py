"""Ensembles of teachers against NumPy: mean probabilities, confidence, and who is given what."""

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from scipy.special import softmax
from scipy.stats import entropy
from torch import nn

from kdmri_monai.networks.ensembles import TeacherEnsemble, mean_log_probabilities, member_confidence
from kdmri_monai.networks.taps import FeatureTaps


class Says(nn.Module):
    """Gives the logits that it holds."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.as_tensor(logits))

    def forward(self, image):
        return self.logits[: len(image)]


class WantsMask(nn.Module):
    privileged_keys = ("mask", "has_mask")

    def forward(self, image, mask, has_mask):
        return torch.stack([mask.sum((1, 2, 3)), has_mask.float(), image.sum((1, 2, 3))], dim=1)


class WantsAge(nn.Module):
    privileged_keys = ("age",)

    def forward(self, image, age):
        return age[:, None] * torch.ones(3)


def logits_of(members, samples, classes, scale=3.0):
    return np.random.default_rng(members + 10 * samples + classes).normal(0, scale, (members, samples, classes))


def reference(logits, weights):
    """Log of the mean of the probabilities, with weights (M, B)."""
    probabilities = softmax(logits, axis=-1)
    return np.log((weights[..., None] * probabilities).sum(axis=0) / weights.sum(axis=0)[:, None])


@pytest.mark.parametrize("weights", [None, [1.0, 1.0, 2.0], [0.0, 0.3, 0.1]])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_fixed_weights_give_the_log_of_the_mean_probability(weights, classes):
    logits = logits_of(3, 4, classes)
    got = TeacherEnsemble([Says(z) for z in logits], weights)(torch.zeros(4, 1, 2, 2)).detach().numpy()
    fixed = np.ones(3) if weights is None else np.array(weights)
    np.testing.assert_allclose(got, reference(logits, np.repeat(fixed[:, None], 4, 1)), rtol=1e-10)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_confidence_weighs_every_sample_by_one_minus_its_entropy_over_log_k(classes):
    logits = logits_of(3, 5, classes)
    got = TeacherEnsemble([Says(z) for z in logits], "confidence")(torch.zeros(5, 1, 2, 2)).detach().numpy()
    sure = 1 - entropy(softmax(logits, axis=-1), axis=-1, base=classes)
    np.testing.assert_allclose(got, reference(logits, sure), rtol=1e-9)


def test_a_sure_member_speaks_for_one_that_knows_nothing():
    sure, lost = torch.tensor([[9.0, 0.0, 0.0]]), torch.zeros(1, 3)
    got = TeacherEnsemble([Says(sure), Says(lost)], "confidence")(torch.zeros(1, 1, 2, 2))
    torch.testing.assert_close(got.softmax(1), sure.softmax(1), atol=1e-5, rtol=0)


def test_members_who_are_all_lost_count_alike():
    got = TeacherEnsemble([Says(torch.zeros(1, 3)), Says(torch.ones(1, 3))], "confidence")(torch.zeros(1, 1, 2, 2))
    torch.testing.assert_close(got.softmax(1), torch.full((1, 3), 1 / 3))


def test_one_member_is_itself():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for weights in (None, [5.0], "confidence"):
        got = TeacherEnsemble([Says(logits)], weights)(torch.zeros(4, 1, 2, 2))
        torch.testing.assert_close(got.softmax(1), logits.softmax(1))


def test_temperatures_divide_the_logits_of_their_members():
    logits = logits_of(2, 3, 3)
    got = TeacherEnsemble([Says(z) for z in logits], temperatures=[2.0, 0.5])(torch.zeros(3, 1, 2, 2)).detach().numpy()
    scaled = logits / np.array([2.0, 0.5])[:, None, None]
    np.testing.assert_allclose(got, reference(scaled, np.ones((2, 3))), rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weights", [None, "confidence"])
def test_logits_of_ten_thousand_stay_finite(weights, dtype):
    extreme = torch.tensor([[1e4, -1e4, 0.0], [0.0, 1e4, 1e4]], dtype=dtype)
    ensemble = TeacherEnsemble([Says(extreme), Says(extreme.flip(1))], weights)
    got = ensemble(torch.zeros(2, 1, 2, 2))
    got.logsumexp(1).sum().backward()
    assert got.dtype == torch.float32
    assert torch.isfinite(got.softmax(1)).all()
    torch.testing.assert_close(got.logsumexp(1), torch.zeros(2), atol=1e-4, rtol=0)
    assert all(torch.isfinite(member.logits.grad).all() for member in ensemble.members)


def test_gradients_are_those_of_the_formula():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([[0.2, 0.5, 0.9], [0.8, 0.5, 0.1]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: mean_log_probabilities(z.log_softmax(2), weights), logits)
    assert torch.autograd.gradcheck(lambda z: member_confidence(z.log_softmax(2)), logits)


def test_each_member_is_given_its_own_and_no_more():
    ensemble = TeacherEnsemble([WantsMask(), Says(torch.zeros(2, 3)), WantsAge(), WantsMask()])
    assert ensemble.privileged_keys == ("mask", "has_mask", "age")
    image, mask = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    given = {"mask": mask, "has_mask": torch.tensor([True, False]), "age": torch.tensor([3.0, 4.0])}
    got = ensemble(image, **given)
    alone = torch.stack([WantsMask()(image, mask, given["has_mask"]), torch.zeros(2, 3), torch.zeros(2, 3)])
    expected = reference(alone[[0, 1, 2, 0]].double().numpy(), np.ones((4, 2)))
    np.testing.assert_allclose(got.detach().numpy(), expected, atol=1e-5)
    with pytest.raises(ValueError, match="WantsAge wants age beside the image"):
        ensemble(image, mask=mask, has_mask=given["has_mask"])


def test_members_are_tapped_by_name():
    members = [nn.Sequential(nn.Conv2d(1, 2 + i, 3), nn.Flatten(), nn.LazyLinear(3)) for i in range(2)]
    ensemble = TeacherEnsemble(members)
    image = torch.randn(2, 1, 5, 5)
    with FeatureTaps(ensemble, ["members.0.0", "members.1.0"]).collect() as features:
        ensemble(image)
    torch.testing.assert_close(features[1], members[1][0](image))
    assert [feature.shape[1] for feature in features] == [2, 3]


def test_a_bundle_makes_one_by_target():
    config = {
        "imports": ["$import torch"],
        "teacher": {
            "_target_": "kdmri_monai.networks.ensembles.TeacherEnsemble",
            "members": ["$torch.nn.Flatten()", "$torch.nn.Flatten()"],
            "weights": "confidence",
        },
    }
    teacher = ConfigParser(config).get_parsed_content("teacher")
    assert teacher(torch.zeros(2, 1, 2, 2)).shape == (2, 4)
    assert "weights=confidence" in repr(teacher)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": [1.0]}, "2 of them, none negative, not all zero"),
        ({"weights": [1.0, -1.0]}, "none negative"),
        ({"weights": [0.0, 0.0]}, "not all zero"),
        ({"weights": [1.0, float("nan")]}, "none negative"),
        ({"weights": "entropy"}, "allowed are numbers, None and 'confidence'"),
        ({"temperatures": [1.0, 0.0]}, "2 positive ones are wanted"),
        ({"temperatures": [1.0]}, "2 positive ones are wanted"),
    ],
)
def test_arguments_that_make_no_ensemble_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TeacherEnsemble([Says(torch.zeros(1, 3)), Says(torch.zeros(1, 3))], **arguments)


def test_an_ensemble_has_members():
    with pytest.raises(ValueError, match="at least one member"):
        TeacherEnsemble([])
