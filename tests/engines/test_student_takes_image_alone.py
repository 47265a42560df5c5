"""Mask, border and distance teach the student and are never shown to it: not in training, not after."""

from dataclasses import dataclass

import pytest
import torch
from ignite.engine import Events
from kornia.augmentation import AugmentationSequential, RandomHorizontalFlip
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler
from torch import nn

from kdmri_monai.engines import AugmentedBatch, DistillationTrainer, Distiller, ValidationTerms
from kdmri_monai.losses import WeightedTerm
from kdmri_monai.losses.geometry_targets import geometry_loss
from kdmri_monai.networks import GeometryClassifier, GeometryTeacher

SHAPE = (1, 16, 16)
KEYS = ["mask"]


def backbone(width):
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 3)),
    )


def slices(kind):
    """Twelve slices; ``kind`` of masks: ``left``, ``right``, ``none``, or ``some`` (every other one)."""
    generator = torch.Generator().manual_seed(7)
    items = []
    for number in range(12):
        mask = torch.zeros(1, 16, 16, dtype=torch.uint8)
        if kind in ("left", "right") or (kind == "some" and number % 2):
            column = 9 if kind == "right" else 2
            mask[0, 4:10, column : column + 5] = 1
        has_mask = mask.bool().any()
        image = torch.rand(1, 16, 16, generator=generator)
        items.append({"image": image, "label": number % 3, "mask": mask, "has_mask": has_mask})
    return items


@dataclass
class Run:
    """A distillation of one epoch, and every call of the networks in it."""

    trainer: DistillationTrainer
    student: nn.Module
    teacher: nn.Module
    calls: dict[str, list]
    outputs: list


def distillation(kind="left", privileged_keys=(), epochs=1):
    torch.manual_seed(0)
    student = GeometryClassifier(backbone(4), ["0", "1"], 3, SHAPE, head={"width": 8, "fusion": ("abf", {"width": 8})})
    geometry = {"from_mask": ["distance", "rings"], "from_image": []}
    teacher = GeometryTeacher(backbone(6), ["0", "1"], 3, SHAPE, geometry=geometry, width=8)
    with torch.no_grad():
        teacher.classify[-1].weight.mul_(5)  # a teacher that says something
    terms = [
        WeightedTerm("kd"),
        WeightedTerm("geometry", taps={"student": ["head.maps"]}),
        WeightedTerm("rings", taps={"student": ["backbone.0"], "teacher": [{"module": "fusion", "item": 0}]}),
    ]
    distiller = Distiller(student, teacher, terms, image_shape=SHAPE)
    loader = DataLoader(Dataset(slices(kind)), batch_size=6)
    plain = AugmentedBatch(mask_keys=KEYS)
    evaluator = SupervisedEvaluator("cpu", loader, student, prepare_batch=plain, decollate=False)
    validation_terms = ValidationTerms(loader, student, distiller, torch.device("cpu"), plain)
    flip = AugmentationSequential(RandomHorizontalFlip(p=0.5), data_keys=["input"])
    calls = {"student": [], "teacher": []}
    for name, network in (("student", student), ("teacher", teacher)):
        network.register_forward_pre_hook(
            lambda module, args, kwargs, name=name: calls[name].append((args, dict(kwargs), module.training)),
            with_kwargs=True,
        )
    trainer = DistillationTrainer(
        "cpu",
        epochs,
        loader,
        student,
        torch.optim.SGD([*student.parameters(), *distiller.parameters()], 0.01),
        nn.CrossEntropyLoss(),
        teacher=teacher,
        distiller=distiller,
        prepare_batch=AugmentedBatch(flip, mask_keys=KEYS, privileged_keys=privileged_keys),
        train_handlers=[ValidationHandler(1, evaluator), validation_terms],
    )
    outputs = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output))
    return Run(trainer, student, teacher, calls, outputs)


def test_every_call_of_the_student_has_the_image_and_nothing_else():
    run = distillation()
    run.trainer.run()
    assert [training for *_, training in run.calls["student"]] == [True] * 2 + [False] * 4  # two batches, three readers
    for args, kwargs, _ in run.calls["student"]:
        assert len(args) == 1
        assert args[0].shape == (6, *SHAPE)
        assert not kwargs
        assert len(args[0].unique()) > 100  # an image: a mask has two values, a distance a few
    assert all(kwargs.keys() == {"mask", "has_mask"} for _, kwargs, _ in run.calls["teacher"])
    trained = [args[0] for args, _, training in run.calls["student"] if training]
    for image, output in zip(trained, run.outputs, strict=True):
        assert torch.equal(image, output["image"])


def test_other_masks_change_what_is_taught_and_not_what_the_student_answers():
    left, right = distillation("left"), distillation("right")
    for run in (left, right):
        torch.manual_seed(5)
        run.trainer.run()
    one, other = left.outputs[0], right.outputs[0]
    assert torch.equal(one["pred"], other["pred"])
    assert not torch.allclose(one["teacher_pred"], other["teacher_pred"])
    assert all(one["terms"][name] != other["terms"][name] for name in ("kd", "geometry", "rings"))
    assert one["terms"]["task"] == other["terms"]["task"]


def test_after_training_the_student_takes_no_second_argument():
    run = distillation()
    run.trainer.run()
    run.student.eval()
    image, mask = torch.rand(2, *SHAPE), torch.ones(2, *SHAPE)
    with torch.no_grad():
        assert run.student(image).shape == (2, 3)
    for extra in ({"mask": mask}, {"has_mask": torch.ones(2, dtype=torch.bool)}, {"distance": mask}):
        with pytest.raises(TypeError, match="unexpected keyword"):
            run.student(image, **extra)


@pytest.mark.parametrize("keys", [("mask",), ("mask", "has_mask")])
def test_a_batch_that_offers_the_student_a_mask_is_refused(keys):
    run = distillation(privileged_keys=keys)
    before = {name: value.clone() for name, value in run.student.state_dict().items()}
    run.calls["student"].clear()
    with pytest.raises(ValueError, match=r"prepare_batch gives the student .*mask: mask, border and distance are for"):
        run.trainer.run()
    assert run.calls["student"] == []
    assert all(torch.equal(before[name], value) for name, value in run.student.state_dict().items())


@pytest.mark.parametrize("key", ["border", "distance"])
def test_border_and_distance_are_refused_too(key):
    run = distillation()
    inner = run.trainer.prepare_batch

    def offering(batch, device, non_blocking, **kwargs):
        image, target = inner(batch, device, non_blocking, **kwargs)
        return image, target, (), {key: batch["mask"]}

    run.trainer.prepare_batch = offering
    with pytest.raises(ValueError, match=rf"prepare_batch gives the student {key}: .*Leave privileged_keys"):
        run.trainer.run()


def test_batches_without_any_mask_are_trained_on_without_the_terms_that_want_one():
    run = distillation("none", epochs=2)
    run.trainer.run()
    assert len(run.outputs) == 4
    for output in run.outputs:
        assert output["terms"]["geometry"] == output["terms"]["rings"] == 0
        assert output["terms"]["kd"] > 0
        torch.testing.assert_close(output["loss"].detach(), output["terms"]["task"] + output["terms"]["kd"])
    assert all(torch.isfinite(value).all() for value in run.student.state_dict().values())


def test_slices_without_a_mask_are_left_out_of_the_mean():
    run = distillation("some")
    shown = []
    geometry = run.trainer.distiller.terms["geometry"].term
    geometry.register_forward_hook(lambda _m, inputs, value: shown.append((inputs[0], value.detach())))
    run.trainer.run()
    given, value = shown[0]
    chosen = given.batch["has_mask"]
    assert 0 < int(chosen.sum()) < len(chosen)
    alone = given.student_features[0][chosen], given.batch["mask"][chosen]
    parts = [geometry_loss(maps[None], mask[None], geometry.limit) for maps, mask in zip(*alone, strict=True)]
    torch.testing.assert_close(value, torch.cat(parts).mean().detach())
