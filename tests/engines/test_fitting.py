"""FitTerms: every training slice once, unaugmented, by the teacher in eval mode; not again when a run is resumed."""

from typing import ClassVar

import pytest
import torch
from monai.data import DataLoader, Dataset
from torch import nn

from kdmri_monai.engines import AugmentedBatch, Distiller, FitTerms
from kdmri_monai.losses import DistillationTerm, WeightedTerm
from kdmri_monai.losses.pseudo_subclasses import PseudoSubclasses
from kdmri_monai.losses.subclass_directions import subclass_directions

CPU = torch.device("cpu")


class Spy(DistillationTerm):
    """Keeps what it is fitted to."""

    wants: ClassVar[str] = "vectors"
    needs_fit: ClassVar[bool] = True

    def __init__(self):
        super().__init__()
        self.given = []
        self.register_buffer("fitted", torch.tensor(False))

    def fit(self, embeddings, logits, labels):
        self.given.append((embeddings, logits, labels))
        self.fitted.fill_(True)

    def forward(self, inputs):
        return inputs.student_logits.square().mean()


class Unreadable:
    """A loader that nobody may ask."""

    def __iter__(self):
        raise AssertionError("the training slices were read")


def network(width, seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, stride=2, padding=1),
        nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.5)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3)),
    )


def tapped(term, module, name="spy"):
    return WeightedTerm(name, term, taps={"student": [module], "teacher": [module]})


@pytest.fixture
def slices():
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(30, 1, 16, 16, generator=generator)
    return [{"image": image, "label": number % 3} for number, image in enumerate(images)]


def answers(teacher, slices, module):
    """Embeddings and logits, slice by slice, without any of the code under test."""
    seen = []
    handle = teacher.get_submodule(module).register_forward_hook(lambda _m, _i, out: seen.append(out.mean((2, 3))))
    teacher.eval()
    with torch.no_grad():
        logits = torch.cat([teacher(item["image"][None]) for item in slices])
    handle.remove()
    return torch.cat(seen), logits, torch.tensor([item["label"] for item in slices])


def test_a_term_is_shown_the_teachers_answers_to_all_slices(slices):
    student, teacher = network(4, 0), network(6, 1)
    early, late = Spy(), Spy()
    terms = [tapped(early, "0", "early"), tapped(late, "1", "late")]
    distiller = Distiller(student, teacher, terms, image_shape=(1, 16, 16))
    teacher.train()  # what a careless handler might do
    FitTerms(DataLoader(Dataset(slices), batch_size=7), distiller, CPU)(None)
    for spy, module in ((early, "0"), (late, "1")):
        expected = answers(teacher, slices, module)
        assert len(spy.given) == 1
        for got, wanted in zip(spy.given[0], expected, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_pseudo_subclasses_are_those_of_the_whole_training_set_in_any_order(slices):
    teacher, found = network(8, 1), []
    for order in (slices, slices[::-1]):
        term = PseudoSubclasses(subclasses=2)
        distiller = Distiller(network(4, 0), teacher, [tapped(term, "1")], image_shape=(1, 16, 16))
        FitTerms(DataLoader(Dataset(order), batch_size=7), distiller, CPU)(None)
        assert term.fitted
        found.append(term)
    means, directions = subclass_directions(*answers(teacher, slices, "1"), subclasses=2)
    for term in found:
        torch.testing.assert_close(term.means, means, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(term.directions, directions, rtol=1e-2, atol=1e-2 * float(directions.abs().max()))


def test_slices_are_moved_and_masks_flagged_as_prepare_batch_does(slices):
    class Privileged(nn.Module):
        privileged_keys = ("mask", "has_mask")

        def __init__(self):
            super().__init__()
            self.inner, self.masks = network(6, 1), []

        def forward(self, image, mask=None, has_mask=None):
            if mask is not None:
                self.masks.append((mask.clone(), has_mask.clone()))
            return self.inner(image)

    for number, item in enumerate(slices):
        item["mask"] = torch.full((1, 16, 16), number % 2, dtype=torch.uint8)
    teacher, spy = Privileged(), Spy()
    terms = [WeightedTerm("spy", spy, taps={"student": ["0"], "teacher": ["inner.0"]})]
    distiller = Distiller(network(4, 0), teacher, terms, image_shape=(1, 16, 16))
    loader = DataLoader(Dataset(slices), batch_size=30)
    FitTerms(loader, distiller, CPU, AugmentedBatch(mask_keys=["mask"]))(None)
    mask, has_mask = teacher.masks[-1]
    assert mask.dtype == torch.float32
    assert has_mask.tolist() == [number % 2 == 1 for number in range(30)]
    assert len(spy.given[0][0]) == 30


def test_nothing_is_read_where_no_term_wants_it(study):
    run = study(epochs=1)
    FitTerms(Unreadable(), run.distiller, CPU).attach(run.trainer)
    run.trainer.run()
    assert run.trainer.state.iteration == 5


def test_student_and_teacher_stay_as_they_were(slices):
    student, teacher = network(4, 0), network(6, 1)
    distiller = Distiller(student, teacher, [tapped(Spy(), "1")], image_shape=(1, 16, 16))
    before = {name: value.clone() for net in (student, teacher) for name, value in net.state_dict().items()}
    FitTerms(DataLoader(Dataset(slices), batch_size=7), distiller, CPU)(None)
    after = {name: value for net in (student, teacher) for name, value in net.state_dict().items()}
    assert all(torch.equal(before[name], value) for name, value in after.items())


@pytest.fixture
def lelp_study(study):
    def make(folder, loader=None, **arguments):
        term = WeightedTerm("lelp", PseudoSubclasses(2), 0.5, taps={"student": ["1"], "teacher": ["1"]})
        run = study(folder, terms=[term], **arguments)
        data = DataLoader(run.extra["loader"].dataset, batch_size=16)
        FitTerms(data if loader is None else loader, run.distiller, CPU).attach(run.trainer)
        return run

    return make


def test_a_resumed_run_does_not_look_again_and_equals_an_uninterrupted_one(lelp_study, tmp_path):
    straight = lelp_study(tmp_path / "straight", epochs=2)
    straight.trainer.run()
    lelp_study(tmp_path / "broken", epochs=1).trainer.run()
    resumed = lelp_study(tmp_path / "broken", Unreadable(), epochs=2, resume=True)
    resumed.trainer.run()
    for one, other in ((straight.student, resumed.student), (straight.distiller, resumed.distiller)):
        states = one.state_dict(), other.state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_without_it_training_stops_at_the_first_batch(study):
    term = WeightedTerm("lelp", PseudoSubclasses(2), taps={"student": ["1"], "teacher": ["1"]})
    run = study(epochs=1, terms=[term])
    with pytest.raises(RuntimeError, match="fit must see the teacher's embeddings of the training set first"):
        run.trainer.run()
    assert run.trainer.state.iteration == 1
