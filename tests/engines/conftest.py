"""A teacher, a student and forty small images: enough to run every engine in a second."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from ignite.metrics import Accuracy, Loss, Recall
from kornia.augmentation import AugmentationSequential, RandomGaussianNoise, RandomHorizontalFlip
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import LrScheduleHandler, ValidationHandler, from_engine
from torch import nn
from torch.utils.data import DistributedSampler

from kdmri_monai.engines import (
    AugmentedBatch,
    CurveWriter,
    DistillationTrainer,
    Distiller,
    EpochSeed,
    MeanTerms,
    RunCheckpoints,
    StopOnNonFiniteLoss,
    ValidationTerms,
)
from kdmri_monai.losses import FusedFeatures, LinearRamp, SoftTargets, WeightedTerm


def small_network(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(2 * width, 3)),
    )


def slices(count: int, seed: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)
    labels = [i % 3 for i in range(count)]
    images = torch.randn(count, 1, 16, 16, generator=generator) * 0.5
    for image, label in zip(images, labels, strict=True):
        image[0, 4 * label : 4 * label + 4, 4:8] += 2.0
    return [{"image": image, "label": label} for image, label in zip(images, labels, strict=True)]


@dataclass
class Study:
    """Everything of a small run; ``make`` builds it, so that two are equal."""

    trainer: DistillationTrainer
    student: nn.Module
    teacher: nn.Module | None
    distiller: Distiller | None
    evaluator: SupervisedEvaluator
    checkpoints: RunCheckpoints | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def make_study(
    folder=None, *, distil=True, epochs=2, resume=False, seed=0, handlers=(), terms=None, **trainer_arguments
):
    student, teacher = small_network(4, seed), small_network(6, 99) if distil else None
    distiller = None
    if teacher is not None:
        torch.manual_seed(seed + 1)
        terms = terms or [
            WeightedTerm("kd", SoftTargets(2.0), 0.7),
            WeightedTerm("hcl", FusedFeatures(("abf", {"width": 4})), 0.5, LinearRamp(2)),
        ]
        distiller = Distiller(student, teacher, terms, ["0", "1"], ["0", "1"], (1, 16, 16))
    parameters = [*student.parameters(), *(distiller.parameters() if distiller else ())]
    optimizer = torch.optim.AdamW(parameters, 1e-2)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.8)
    training, validation = Dataset(slices(40, 1)), Dataset(slices(18, 2))
    sampler = DistributedSampler(training, num_replicas=1, rank=0, shuffle=True, seed=seed)
    loader, held_out = DataLoader(training, batch_size=8, sampler=sampler), DataLoader(validation, batch_size=6)
    read = from_engine(["pred", "label"])
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=held_out,
        network=student,
        key_val_metric={"balanced_accuracy": Recall(average="macro", output_transform=read)},
        additional_metrics={
            "accuracy": Accuracy(output_transform=read),
            "loss": Loss(nn.CrossEntropyLoss(), output_transform=read),
        },
        decollate=False,
    )
    checkpoints, terms_on_validation = None, None
    all_handlers = [EpochSeed(seed), StopOnNonFiniteLoss(), ValidationHandler(1, evaluator), *handlers]
    if folder is not None:
        if teacher is not None:
            terms_on_validation = ValidationTerms(held_out, student, distiller, torch.device("cpu"))
        counts = {"training": 40, "validation": 18}
        all_handlers.append(CurveWriter(folder, optimizer, evaluator, terms_on_validation, counts))
    all_handlers.append(LrScheduleHandler(schedule, print_lr=False))
    if folder is not None:
        checkpoints = RunCheckpoints(
            folder,
            student,
            {"optimizer": optimizer, "lr_scheduler": schedule, "distiller": distiller},
            evaluator,
            lambda metrics: (metrics["balanced_accuracy"], -metrics["loss"]),
            resume,
        )
        all_handlers.append(checkpoints)
    augmentation = AugmentationSequential(
        RandomHorizontalFlip(p=0.5), RandomGaussianNoise(std=0.1, p=0.5), data_keys=["input"]
    )
    arguments: dict[str, Any] = {
        "device": "cpu",
        "max_epochs": epochs,
        "train_data_loader": loader,
        "network": student,
        "teacher": teacher,
        "distiller": distiller,
        "optimizer": optimizer,
        "loss_function": nn.CrossEntropyLoss(),
        "prepare_batch": AugmentedBatch(augmentation),
        "key_train_metric": {"accuracy": Accuracy(output_transform=read)},
        "additional_metrics": {"terms": MeanTerms()},
        "train_handlers": all_handlers,
    } | trainer_arguments
    trainer = DistillationTrainer(**arguments)
    return Study(
        trainer, student, teacher, distiller, evaluator, checkpoints, {"optimizer": optimizer, "loader": loader}
    )


@pytest.fixture
def study():
    """The function that builds a small run."""
    return make_study
