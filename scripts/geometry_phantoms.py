#!/usr/bin/env python3
"""Two phantom classes that differ in the outline of the tumour alone: does distillation with geometry beat plain kd?

    python scripts/geometry_phantoms.py OUT --seeds 0 1 2 3 4

Every slice has the same histogram, and tumours of both classes the same areas; only smooth or lobed outlines tell them
apart (``kdmri_monai.data.phantom.geometry_pairs``). For every seed new patients are drawn, a teacher that is given the
tumour's signed distance and rings is trained, and four students on one backbone learn from the same slices on the
same schedule: alone; by ``kd``; by a geometry head on its own; by ``kd``, fused features and the geometry head. The
result is the balanced accuracy on patients that nobody has seen, and the paired difference to ``kd`` with a t interval
over the seeds. ``OUT/result.json`` holds every number.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from kornia.augmentation import RandomAffine, RandomHorizontalFlip, RandomVerticalFlip
from monai.data import DataLoader, Dataset
from monai.networks.nets import resnet10
from monai.networks.nets.swin_unetr import SwinTransformer
from monai.utils import set_determinism
from scipy.stats import t as student_t
from torch import Tensor, nn

from kdmri_monai.data.phantom.geometry_pairs import geometry_pair_slice
from kdmri_monai.engines import AugmentedBatch, DistillationTrainer, Distiller, EpochSeed, batch_augmentation
from kdmri_monai.networks import GeometryClassifier, GeometryTeacher

SIZE, CLASSES, SLICES = 64, 2, 2
STAGES = ["layer1", "layer2", "layer3", "layer4"]
KD = {"name": "kd", "arguments": {"temperature": 2.0}}
FUSION = {"name": "hcl", "weight": 0.5, "schedule": {"shape": "linear", "epochs": 20}}
GEOMETRY = {"name": "geometry", "taps": {"student": ["head.maps"]}}
ARMS: dict[str, tuple[bool, list[dict[str, Any]]]] = {
    "alone": (False, []),
    "kd": (False, [KD]),
    "geometry head": (True, [GEOMETRY]),
    "kd and geometry": (True, [KD, FUSION, GEOMETRY]),
}


def phantoms(patients: int, seed: int, amplitude: float) -> list[dict[str, Any]]:
    """Slices of so many patients, classes in turn; a patient's person and tumour are the same in all slices."""
    entries = []
    for patient in range(patients):
        for level in np.linspace(-0.5, 0.5, SLICES):
            rng = np.random.default_rng([seed, patient])
            image, mask = geometry_pair_slice(rng, patient % 2, SIZE, amplitude, level=float(level))
            entry = {"image": torch.from_numpy(image / 255.0).float()[None], "label": patient % 2}
            entries.append(entry | {"mask": torch.from_numpy(mask)[None].byte(), "has_mask": torch.tensor(True)})
    return entries


def make_student(geometry_head: bool) -> nn.Module:
    """A ResNet-10 of 3/8 width that keeps more places, with or without a geometry head."""
    backbone = resnet10(spatial_dims=2, n_input_channels=1, num_classes=CLASSES, conv1_t_stride=1, widen_factor=0.375)
    shape = (1, SIZE, SIZE)
    return GeometryClassifier(backbone, STAGES, CLASSES, shape, head=geometry_head)


def make_teacher() -> nn.Module:
    """A small Swin transformer that is given signed distance and rings of the tumour."""
    backbone = SwinTransformer(1, 24, (4, 4), (2, 2), (1, 1, 1, 1), (2, 4, 8, 16), spatial_dims=2, use_v2=True)
    taps = ["patch_embed", "layers1.0", "layers2.0", "layers3.0", "layers4.0"]
    maps = {"from_mask": ("distance", "rings"), "from_image": ()}
    return GeometryTeacher(backbone, taps, CLASSES, (1, SIZE, SIZE), geometry=maps, width=32)


def train(network: nn.Module, data: list[dict[str, Any]], epochs: int, seed: int, **distillation: Any) -> nn.Module:
    """One network on one schedule; ``distillation`` is teacher and distiller, or nothing."""
    steps = [RandomHorizontalFlip(), RandomVerticalFlip(), RandomAffine(30.0, (0.1, 0.1), (0.9, 1.1), p=0.9)]
    keys = () if distillation else getattr(network, "privileged_keys", ())
    distiller = distillation.get("distiller")
    learned = [*network.parameters(), *(distiller.parameters() if distiller is not None else ())]
    optimizer = torch.optim.AdamW(learned, 1e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    trainer = DistillationTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(Dataset(data), batch_size=20, shuffle=True),
        network=network,
        optimizer=optimizer,
        loss_function=nn.CrossEntropyLoss(),
        prepare_batch=AugmentedBatch(batch_augmentation(steps), mask_keys=["mask"], privileged_keys=keys),
        train_handlers=[EpochSeed(seed)],
        max_grad_norm=5.0,
        **distillation,
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: rate.step())
    trainer.run()
    return network.eval()


@torch.no_grad()
def answers(network: nn.Module, data: list[dict[str, Any]]) -> tuple[float, float]:
    """Accuracy over slices, which is balanced, since the classes are equally frequent; and mean largest probability."""
    hits, sure = [], []
    for batch in DataLoader(Dataset(data), batch_size=50):
        given: dict[str, Tensor] = {key: batch[key] for key in getattr(network, "privileged_keys", ())}
        given = {key: value.float() if key == "mask" else value for key, value in given.items()}
        probabilities = network(batch["image"], **given).softmax(dim=1)
        hits.append(probabilities.argmax(1) == batch["label"])
        sure.append(probabilities.amax(1))
    return float(torch.cat(hits).float().mean()), float(torch.cat(sure).mean())


def one_seed(given: argparse.Namespace, seed: int) -> dict[str, float]:
    """Accuracy of teacher and students on outside patients."""
    learning = phantoms(given.patients, 2 * seed, given.amplitude)
    outside = phantoms(given.test_patients, 2 * seed + 1, given.amplitude)
    set_determinism(seed)
    teacher = train(make_teacher(), learning, given.teacher_epochs, seed)
    found = {"teacher": answers(teacher, outside)[0], "teacher's confidence": answers(teacher, learning)[1]}
    for arm in given.arms:
        geometry_head, terms = ARMS[arm]
        set_determinism(seed)
        student = make_student(geometry_head)
        distillation: dict[str, Any] = {}
        if terms:
            needed = teacher if KD in terms else None
            taps = [f"backbone.{stage}" for stage in STAGES], [{"module": "fusion", "item": i} for i in range(4)]
            distiller = Distiller(student, needed, terms, *taps, image_shape=(1, SIZE, SIZE))
            distillation = {"teacher": needed, "distiller": distiller}
        found[arm], _ = answers(train(student, learning, given.epochs, seed, **distillation), outside)
        print(f"seed {seed}: {arm} {found[arm]:.3f}", flush=True)
    return found


def interval(differences: list[float], level: float = 0.95) -> dict[str, float]:
    """Mean of paired differences with a t interval over the seeds."""
    n, mean = len(differences), float(np.mean(differences))
    half = float(student_t.ppf((1 + level) / 2, n - 1) * np.std(differences, ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return {"mean": mean, "low": mean - half, "high": mean + half}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--patients", type=int, default=80, help="to learn from, two slices each")
    parser.add_argument("--test_patients", type=int, default=150)
    parser.add_argument("--amplitude", type=float, default=0.4, help="height of the lobes, share of the radius")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--teacher_epochs", type=int, default=20)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    seeds: dict[int, dict[str, float]] = {}
    for seed in given.seeds:
        seeds[seed] = one_seed(given, seed)
        result = summary(given, seeds)
        (given.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: result[name] for name in ("mean", "difference_to_kd")}, indent=1))


def summary(given: argparse.Namespace, seeds: dict[int, dict[str, float]]) -> dict[str, Any]:
    """Everything that is known after so many seeds."""
    rows = list(seeds.values())
    return {
        "settings": {name: value for name, value in vars(given).items() if name != "out"},
        "seeds": seeds,
        "mean": {arm: float(np.mean([row[arm] for row in rows])) for arm in rows[0]},
        "difference_to_kd": {
            arm: interval([row[arm] - row["kd"] for row in rows])
            for arm in given.arms
            if arm != "kd" and "kd" in given.arms
        },
    }


if __name__ == "__main__":
    main()
