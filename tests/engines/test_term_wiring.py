"""Which features reach which term, and what is refused before the first batch, in words that help."""

import pytest
import torch
from monai.networks.nets import ViT
from torch import nn

from kdmri_monai.engines import Distiller
from kdmri_monai.losses import DistillationInputs, DistillationTerm, WeightedTerm
from kdmri_monai.networks import FirstOutput


def cnn(width=4):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, width, 3, stride=2, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(2 * width, 3),
    )


def vit():
    network = ViT(1, 32, 8, 24, 48, 2, 3, classification=True, num_classes=3, spatial_dims=2, post_activation=None)
    return FirstOutput(network)


class Spy(DistillationTerm):
    """Keeps what it was given."""

    wants = "vectors"

    def build(self, student_shapes, teacher_shapes, num_classes):
        self.built = [tuple(s) for s in student_shapes], [tuple(s) for s in teacher_shapes], num_classes

    def forward(self, inputs):
        self.seen = inputs
        return inputs.student_logits.sum()


def run(distiller, student, teacher):
    image = torch.rand(2, 1, 32, 32)
    logits, features = distiller.read_teacher(image, {})
    with distiller.student_taps.collect() as mine:
        own = student(image)
    return distiller(DistillationInputs(own, logits, torch.zeros(2, dtype=torch.long), mine, features), epoch=0)


def test_every_term_gets_its_own_taps_in_its_own_order_and_each_tap_is_read_once():
    student, teacher = cnn(), cnn(6)
    first, second = Spy(), Spy()
    terms = [
        WeightedTerm("first", first, taps={"student": ["1", "0"], "teacher": ["1"]}),
        WeightedTerm("second", second),
    ]
    distiller = Distiller(student, teacher, terms, ["0"], ["0", "1"], (1, 32, 32))
    assert first.built == ([(8, 8, 8), (4, 16, 16)], [(12, 8, 8)], 3)
    assert second.built == ([(4, 16, 16)], [(6, 16, 16), (12, 8, 8)], 3)
    run(distiller, student, teacher)
    assert [tuple(f.shape[1:]) for f in first.seen.student_features] == [(8, 8, 8), (4, 16, 16)]
    assert [tuple(f.shape[1:]) for f in second.seen.teacher_features] == [(6, 16, 16), (12, 8, 8)]
    assert len(distiller.student_taps) == 2
    assert torch.equal(first.seen.student_features[1], second.seen.student_features[0])


def test_terms_may_be_mappings():
    student, teacher = cnn(), cnn(6)
    terms = [{"name": "kd"}, {"name": "gram", "term": "token_gram", "weight": 2.0, "arguments": {"grids": [4]}}]
    values = run(Distiller(student, teacher, terms, ["1"], ["1"], (1, 32, 32)), student, teacher)
    assert values.raw.keys() == {"kd", "gram"}
    torch.testing.assert_close(values.weighted["gram"], 2.0 * values.raw["gram"])
    torch.testing.assert_close(values.total, values.weighted["kd"] + values.weighted["gram"])


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (
            {"name": "token_gram", "taps": {"teacher": ["network.blocks.1"]}},
            r"`token_gram` wants maps; `?network\.blocks\.1`? gives tokens 17 x 24.*prefix_tokens=1",
        ),
        ({"name": "token_gram", "taps": {"student": ["2"]}}, "`token_gram` wants maps; `2` gives vectors of 8"),
        ({"name": "token_gram", "taps": {"student": ["layer9"]}}, "`token_gram` wants maps; .*no module"),
        ({"name": "geometry", "taps": {"student": ["1"]}}, "`geometry`.*`1` 8 x 8 x 8"),
        ({"name": "hcl", "taps": {"student": ["0", "1"]}}, "`hcl`.*student gives `0` 4 x 16 x 16, `1` 8 x 8 x 8"),
    ],
)
def test_a_term_that_lacks_what_it_needs_is_refused_saying_what_it_gets(term, message):
    tokens = {"module": "network.blocks.0", "prefix_tokens": 1}
    with pytest.raises(ValueError, match=message):
        Distiller(cnn(), vit(), [term], ["1"], [tokens], (1, 32, 32))


def test_a_term_that_needs_a_teacher_says_so():
    with pytest.raises(ValueError, match="`kd` wants a teacher; there is none"):
        Distiller(cnn(), None, [{"name": "kd"}], image_shape=(1, 32, 32))


def test_nothing_of_the_dry_runs_stays_in_the_networks():
    student, teacher = cnn().train(), vit().train()
    student[0].eval()
    Distiller(
        student,
        teacher,
        [{"name": "token_gram"}],
        ["1"],
        [{"module": "network.blocks.0", "prefix_tokens": 1}],
        (1, 32, 32),
    )
    assert student.training
    assert not student[0].training
    assert not any(module._forward_hooks for network in (student, teacher) for module in network.modules())
