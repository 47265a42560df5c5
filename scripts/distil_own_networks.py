#!/usr/bin/env python3
"""Distil between two networks of your own: what it takes is ten lines, marked below.

    python scripts/distil_own_networks.py [--dataset_dir D] [--epochs 24] [--out FOLDER]

Neither network comes from MONAI, and neither knows that it is tapped: the teacher is a small transformer, the student a
small convolutional network. Without ``--dataset_dir``, a folder that ``kdmri prepare`` wrote, both learn from synthetic
slices with three kinds of tumour. Prints the accuracy of the teacher, of the student alone and of the student with the
teacher, on slices of patients that none of them has seen. One seed proves nothing: change ``--seed`` before you believe
a difference.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, DataLoader, Dataset
from monai.transforms import (
    Compose,
    EnsureTyped,
    LoadImaged,
    RandFlipd,
    RandRotate90d,
    Resized,
    ScaleIntensityRanged,
    ScaleIntensityRangePercentiles,
    SelectItemsd,
)
from monai.utils import set_determinism
from torch import Tensor, nn

from kdmri_monai.data.datalist import load_split
from kdmri_monai.data.phantom.slices import phantom_slice
from kdmri_monai.data.readers import StoreReader
from kdmri_monai.engines import DistillationTrainer, Distiller

SIZE, CLASSES = 64, 3


class Student(nn.Module):
    """Four stages of convolution; 55 thousand parameters."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 12, 24, 48, 96)
        self.stage1, self.stage2, self.stage3, self.stage4 = map(stage, widths, widths[1:])
        self.classify = nn.Linear(widths[-1], CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.stage4(self.stage3(self.stage2(self.stage1(image))))
        return self.classify(maps.mean(dim=(2, 3)))


class Teacher(nn.Module):
    """A vision transformer with a stem of convolutions, 8 x 8 tokens, a class token and two blocks."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(stage(1, 16), stage(16, 32), stage(32, width))
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, (SIZE // 8) ** 2 + 1, width) * 0.02)
        self.blocks = nn.Sequential(*(self._block(width) for _ in range(2)))
        self.classify = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, CLASSES))

    @staticmethod
    def _block(width: int) -> nn.TransformerEncoderLayer:
        return nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.stem(image).flatten(start_dim=2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(image), -1, -1), patches], dim=1) + self.positions
        return self.classify(self.blocks(tokens)[:, 0])


def stage(before: int, after: int) -> nn.Sequential:
    """Half the size, other channels."""
    return nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU())


def distil(
    student: nn.Module, teacher: nn.Module, data: DataLoader, loss: nn.Module, epochs: int, device: str
) -> nn.Module:
    """Train the student with the teacher, which stays as it is."""
    # the ten lines
    terms = [
        {"name": "kd", "weight": 1.0, "arguments": {"temperature": 2.0}},
        {"name": "token_gram", "weight": 2.0},
        {"name": "hcl", "weight": 0.5, "schedule": {"shape": "linear", "epochs": epochs / 3}},
    ]
    taps = {"student_taps": ["stage[34]"], "teacher_taps": [{"module": "blocks.*", "prefix_tokens": 1}]}
    distiller = Distiller(student, teacher, terms, **taps, image_shape=(1, SIZE, SIZE))
    optimizer = torch.optim.AdamW([*student.parameters(), *distiller.parameters()], lr=2e-3)
    trainer = DistillationTrainer(device, epochs, data, student, optimizer, loss, teacher=teacher, distiller=distiller)
    trainer.run()
    # end of the ten lines
    return student


def train(network: nn.Module, data: DataLoader, loss: nn.Module, epochs: int, device: str) -> nn.Module:
    """Train a network by itself: the teacher, and the student that the distilled one is compared with."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    DistillationTrainer(device, epochs, data, network, optimizer, loss).run()
    return network


def phantoms(count: int, seed: int) -> list[dict[str, Any]]:
    """Axial slices of so many synthetic patients, the three classes in turn."""
    scale = ScaleIntensityRangePercentiles(0.5, 99.5, 0.0, 1.0, clip=True)
    entries = []
    for patient in range(count):
        drawn = phantom_slice("axial", patient % CLASSES, np.random.default_rng([seed, patient]), SIZE)
        image = torch.from_numpy(drawn.image).float()[None]
        entries.append({"image": scale(image).as_tensor(), "label": patient % CLASSES})
    return entries


def prepared(folder: Path, split: str) -> CacheDataset:
    """One split of a dataset folder."""
    steps = [
        LoadImaged("image", reader=StoreReader(), ensure_channel_first=True),
        Resized("image", (SIZE, SIZE), mode="area"),
        ScaleIntensityRanged("image", 0.0, 255.0, 0.0, 1.0),
        EnsureTyped("image", track_meta=False),
        SelectItemsd(["image", "label"]),
    ]
    return CacheDataset(load_split(folder / "datalist.json", split), Compose(steps), progress=False)


@torch.no_grad()
def accuracy(network: nn.Module, entries: Sequence[dict[str, Any]], device: str) -> float:
    """Share of images whose class is found."""
    network.eval()
    batches = DataLoader(Dataset(entries), batch_size=32)
    hits = [network(batch["image"].to(device)).argmax(1).cpu() == batch["label"] for batch in batches]
    return float(torch.cat(hits).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", type=Path, help="folder that kdmri prepare wrote; phantoms by default")
    parser.add_argument("--slices", type=int, default=200, help="phantoms to learn from; half as many are tested on")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="folder for the student's weights and result.json")
    given = parser.parse_args()
    if given.dataset_dir is None:
        learning = phantoms(given.slices, seed=2 * given.seed)
        outside = phantoms(max(1, given.slices // 2), seed=2 * given.seed + 1)
    else:
        learning, outside = (prepared(given.dataset_dir, split) for split in ("training", "test"))
    flips = Compose([RandFlipd("image", 0.5, 0), RandFlipd("image", 0.5, 1), RandRotate90d("image", 0.5)])
    learning = Dataset(learning, flips)
    loss = nn.CrossEntropyLoss()

    def fresh(kind: type[nn.Module]) -> tuple[nn.Module, DataLoader]:
        """A network and batches in an order, the same of one seed."""
        set_determinism(given.seed)
        order = torch.Generator().manual_seed(given.seed)
        return kind().to(given.device), DataLoader(learning, batch_size=24, shuffle=True, generator=order)

    teacher = train(*fresh(Teacher), loss, given.epochs, given.device)
    alone = train(*fresh(Student), loss, given.epochs, given.device)
    student, data = fresh(Student)
    student = distil(student, teacher, data, loss, given.epochs, given.device)
    networks = {"teacher": teacher, "student alone": alone, "student distilled": student}
    result = {name: accuracy(network, outside, given.device) for name, network in networks.items()}
    for name, value in result.items():
        print(f"{name:18}{value:.3f}")
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        torch.save(student.state_dict(), given.out / "student.pt")
        (given.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
