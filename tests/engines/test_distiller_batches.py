"""What a distiller does with batches that not every term can use: erased tumours, too few samples, soft targets."""

import pytest
import torch
from torch import nn

from kdmri_monai.engines import AugmentedBatch, DistillationTrainer, Distiller, MixUp
from kdmri_monai.losses import DistillationInputs, DistillationTerm, WeightedTerm


class Spy(DistillationTerm):
    """Keeps what it was given; as many samples as it wants."""

    def __init__(self, needs_teacher=True, smallest=1):
        super().__init__()
        self.needs_teacher, self.smallest_batch = needs_teacher, smallest

    def forward(self, inputs):
        self.seen = inputs
        return inputs.student_logits.sum() + 1.0


def network(width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 3))


def inputs(batch):
    count = 4
    return DistillationInputs(
        torch.arange(12.0).view(count, 3).requires_grad_(),
        torch.arange(12.0).view(count, 3) + 100,
        torch.arange(count),
        batch={"image": torch.arange(count).view(count, 1, 1, 1).float(), "id": list("abcd"), **batch},
    )


def test_slices_whose_tumour_was_erased_are_kept_from_terms_that_follow_the_teacher():
    taught, alone = Spy(), Spy(needs_teacher=False)
    distiller = Distiller(
        network(), network(), [WeightedTerm("taught", taught), WeightedTerm("alone", alone)], image_shape=(1, 4, 4)
    )
    distiller(inputs({"erased": torch.tensor([False, True, False, True])}), epoch=0)
    assert taught.seen.labels.tolist() == [0, 2]
    assert taught.seen.batch["id"] == ["a", "c"]
    assert taught.seen.batch["image"].flatten().tolist() == [0, 2]
    assert taught.seen.teacher_logits[1, 0] == 106
    assert alone.seen.labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("batch", [{}, {"erased": torch.zeros(4, dtype=torch.bool)}])
def test_where_nothing_was_erased_all_are_taught(batch):
    taught = Spy()
    Distiller(network(), network(), [WeightedTerm("taught", taught)], image_shape=(1, 4, 4))(inputs(batch), epoch=0)
    assert taught.seen.labels.tolist() == [0, 1, 2, 3]


def test_a_batch_that_is_too_small_for_a_term_passes_without_it():
    small, large = Spy(smallest=3), Spy(smallest=2)
    distiller = Distiller(
        network(), network(), [WeightedTerm("small", small), WeightedTerm("large", large)], image_shape=(1, 4, 4)
    )
    given = inputs({"erased": torch.tensor([False, True, False, True])})
    values = distiller(given, epoch=0)
    assert not hasattr(small, "seen")
    assert values.raw["small"] == 0
    assert values.total == values.raw["large"] == given.student_logits[[0, 2]].sum() + 1


def test_soft_targets_reach_the_loss_and_hard_labels_the_metrics():
    torch.manual_seed(0)
    student, seen = network(), []
    loss = nn.CrossEntropyLoss()
    batch = {"image": torch.rand(6, 1, 4, 4), "label": torch.tensor([0, 1, 2, 0, 1, 2])}

    def spied(prediction, target):
        seen.append(target)
        return loss(prediction, target)

    trainer = DistillationTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[batch],
        network=student,
        optimizer=torch.optim.SGD(student.parameters(), 0.1),
        loss_function=spied,
        prepare_batch=AugmentedBatch(mixing=MixUp(3, alpha=1.0)),
    )
    trainer.run()
    assert seen[0].shape == (6, 3)
    assert ((seen[0] > 0).sum(1) == 2).any()
    assert trainer.state.output["label"].tolist() == [0, 1, 2, 0, 1, 2]


def test_masks_that_a_term_wants_must_be_prepared():
    student = nn.Sequential(nn.Conv2d(1, 7, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 3))
    term = {"name": "geometry", "taps": {"student": ["0"]}}
    distiller = Distiller(student, None, [term], image_shape=(1, 8, 8))
    given = {
        "device": "cpu",
        "max_epochs": 1,
        "train_data_loader": [],
        "network": student,
        "optimizer": torch.optim.SGD(student.parameters(), 0.1),
        "loss_function": nn.CrossEntropyLoss(),
        "distiller": distiller,
    }
    with pytest.raises(ValueError, match=r"`geometry` want masks; .*set mask_keys to \['mask'\]"):
        DistillationTrainer(**given, prepare_batch=AugmentedBatch())
    DistillationTrainer(**given, prepare_batch=AugmentedBatch(mask_keys=["mask"]))
