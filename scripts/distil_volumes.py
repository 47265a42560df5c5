#!/usr/bin/env python3
"""Distil a 3D transformer into a 3D ResNet on small NIfTI volumes.

    python scripts/distil_volumes.py FOLDER [--epochs 20]

Writes volumes of 32 x 32 x 32 voxels into FOLDER, a bright lump in noise: round in one class, drawn out to a rod of the
same volume in the other, in any place and direction. MONAI reads them, a vision transformer learns them, and a ResNet
learns them, alone and with the transformer as its teacher. Only networks, taps and ``image_shape`` differ from what is
written for slices. Prints the accuracies on volumes that none has seen; one seed proves nothing.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import CacheDataset, DataLoader
from monai.networks.nets import ViT, resnet10
from monai.transforms import Compose, EnsureChannelFirstd, EnsureTyped, LoadImaged, ScaleIntensityd
from monai.utils import set_determinism
from scipy import ndimage
from torch import nn

from kdmri_monai.engines import DistillationTrainer, Distiller
from kdmri_monai.networks import FirstOutput

SIZE, CLASSES = 32, 2
AFFINE = np.diag([-1.5, -1.5, 2.0, 1.0])
"""Voxels of 1.5 x 1.5 x 2 mm; the first two axes run to the left and to the back, as in DICOM."""


def lump(label: int, random: np.random.Generator) -> np.ndarray:
    """A volume ``(32, 32, 32)`` in float32: a ball of class 0 or a rod of class 1, smoothed, in noise."""
    grid = np.stack(np.meshgrid(*[np.arange(SIZE)] * 3, indexing="ij"), axis=-1)
    along = random.normal(size=3)
    along /= np.linalg.norm(along)
    offset = grid - random.uniform(11, 21, 3)
    length = offset @ along
    across = np.sqrt(np.maximum((offset**2).sum(axis=-1) - length**2, 0))
    stretch = 1.0 if label == 0 else 2.2
    radius = random.uniform(4.0, 5.5)
    inside = (length / stretch) ** 2 + across**2 * stretch < radius**2
    volume = ndimage.gaussian_filter(inside.astype(np.float32), 1.0) + random.normal(0, 0.3, inside.shape)
    return volume.astype(np.float32)


def write_volumes(folder: Path, count: int, seed: int) -> list[dict[str, Any]]:
    """NIfTI files, the classes in turn, and the entries of a MONAI dataset that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number in range(count):
        file = folder / f"volume_{number:03d}.nii.gz"
        volume = lump(number % CLASSES, np.random.default_rng([seed, number]))
        nibabel.save(nibabel.Nifti1Image(volume, AFFINE), file)
        entries.append({"image": str(file), "label": number % CLASSES})
    return entries


def read_volumes(entries: Sequence[dict[str, Any]]) -> CacheDataset:
    """Images ``(1, 32, 32, 32)`` of 0 to 1 and labels."""
    steps = [LoadImaged("image"), EnsureChannelFirstd("image"), ScaleIntensityd("image")]
    return CacheDataset(entries, Compose([*steps, EnsureTyped("image", track_meta=False)]), progress=False)


def make_teacher() -> nn.Module:
    """A vision transformer of 4 x 4 x 4 tokens and a class token; its block 4 is the last."""
    size, patch = (SIZE,) * 3, (8,) * 3
    return FirstOutput(
        ViT(1, size, patch, 96, 192, 4, 4, classification=True, num_classes=CLASSES, post_activation=None)
    )


def make_student() -> nn.Module:
    """A ResNet-10 of a quarter of the width."""
    return resnet10(spatial_dims=3, n_input_channels=1, num_classes=CLASSES, conv1_t_stride=2, widen_factor=0.25)


def train(
    network: nn.Module,
    volumes: CacheDataset,
    epochs: int,
    device: str,
    distiller: Distiller | None = None,
    **taught: Any,
) -> nn.Module:
    """One network on one schedule; ``taught`` may hold the teacher of the distiller."""
    learned = [*network.parameters(), *(() if distiller is None else distiller.parameters())]
    trainer = DistillationTrainer(
        device=device,
        max_epochs=epochs,
        train_data_loader=DataLoader(volumes, batch_size=12, shuffle=True),
        network=network,
        optimizer=torch.optim.AdamW(learned, lr=1e-3),
        loss_function=nn.CrossEntropyLoss(),
        distiller=distiller,
        **taught,
    )
    trainer.run()
    return network


def distilled(student: nn.Module, teacher: nn.Module, volumes: CacheDataset, epochs: int, device: str) -> nn.Module:
    """The student with softened classes, token similarities and fused 3D features of its teacher."""
    terms = [
        {"name": "kd", "arguments": {"temperature": 2.0}},
        {"name": "token_gram", "weight": 2.0, "arguments": {"grids": [4, 2]}},
        {"name": "hcl", "weight": 0.5, "arguments": {"fusion": ("abf", {"width": 32})}},
    ]
    taps = {"student_taps": ["layer[12]"], "teacher_taps": [{"module": "network.blocks.[13]", "prefix_tokens": 1}]}
    distiller = Distiller(student, teacher, terms, **taps, image_shape=(1, SIZE, SIZE, SIZE))
    return train(student, volumes, epochs, device, distiller, teacher=teacher)


@torch.no_grad()
def accuracy(network: nn.Module, volumes: CacheDataset, device: str) -> float:
    """Share of volumes whose class is found."""
    network.eval()
    batches = DataLoader(volumes, batch_size=12)
    hits = [network(batch["image"].to(device)).argmax(1).cpu() == batch["label"] for batch in batches]
    return float(torch.cat(hits).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the volumes and result.json")
    parser.add_argument("--volumes", type=int, default=60, help="to learn from; as many are tested on")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    learning = read_volumes(write_volumes(given.out / "learning", given.volumes, 2 * given.seed))
    outside = read_volumes(write_volumes(given.out / "outside", given.volumes, 2 * given.seed + 1))

    def fresh(make: Any) -> nn.Module:
        set_determinism(given.seed)
        return make().to(given.device)

    teacher = train(fresh(make_teacher), learning, given.epochs, given.device)
    alone = train(fresh(make_student), learning, given.epochs, given.device)
    student = distilled(fresh(make_student), teacher, learning, given.epochs, given.device)
    networks = {"teacher": teacher, "student alone": alone, "student distilled": student}
    result = {name: accuracy(network, outside, given.device) for name, network in networks.items()}
    for name, value in result.items():
        print(f"{name:18}{value:.3f}")
    (given.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
