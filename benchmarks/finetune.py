#!/usr/bin/env python3
"""Is a student that has learned three classes of phantoms a better start for two others than no start at all?

    python benchmarks/finetune.py [--task healthy|border] [--seeds 3] [--epochs 40] [--patients 12] [--work FOLDER]

One student learns the three kinds of tumour of 60 phantom patients. Then, for every seed, 12 other patients are drawn,
with four slices each, and a student is trained on them for equal epochs: from scratch, fine-tuned as finetune.json is
shipped, and with one of its settings changed at a time. The two classes are heads without and with a tumour of any kind
(``healthy``), or tumours with a smooth and a lobed border in slices that are alike in all else (``border``). All are
asked about the same 60 further patients; the epoch is chosen on the validation patients of the twelve. Prints the area
under the ROC curve and the accuracy of every run, by slice, and their means.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when NumPy is imported

import argparse
import csv
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from monai.bundle import ConfigWorkflow
from PIL import Image

from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.geometry_pairs import write_geometry_pairs
from kdmri_monai.data.phantom.patients import write_phantoms
from kdmri_monai.data.phantom.slices import Sources, phantom_slice
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.data.taxonomy import CLASSES, PLANES

CONFIGS = Path(__file__).parents[1] / "bundles" / "kd" / "configs"
SIZE, SLICES, ASKED = 64, 4, 60
ARMS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "from scratch": ((), {}),
    "fine-tuned": (("finetune",), {}),
    "body as fast as the head": (("finetune",), {"body_rate": 1.0}),
    "never frozen": (("finetune",), {"freeze_epochs": 0}),
    "neither": (("finetune",), {"freeze_epochs": 0, "body_rate": 1.0}),
}


def healthy_or_not(folder: Path, patients: int, seed: int) -> tuple[Path, tuple[str, str]]:
    """Folders of pictures by class; of a patient the head stays, all else changes from slice to slice."""
    classes = ("healthy", "tumour")
    for number in range(patients):
        home, kind = folder / classes[number % 2] / f"{seed}-{number}", number // 2 % 3
        home.mkdir(parents=True)
        for index in range(SLICES):
            own = np.random.default_rng([seed, number, 1 + index])
            sources = Sources(np.random.default_rng([seed, number, 0]), *own.spawn(4))
            level = float(own.uniform(-0.8, 0.8))
            slice_ = phantom_slice(PLANES[index % 3], kind if number % 2 else None, sources, SIZE, level)
            Image.fromarray(slice_.image.clip(0).astype(np.uint16)).save(home / f"{seed}-{number}-{index}.png")
    return folder, classes


def borders(folder: Path, patients: int, seed: int) -> tuple[Path, tuple[str, str]]:
    """A table of pictures, whose classes are given names of their own."""
    named = {CLASSES[0]: "smooth border", CLASSES[1]: "lobed border"}
    table = write_geometry_pairs(folder, patients, SLICES, SIZE, seed, amplitude=0.4)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "label": named[row["label"]], "patient": f"{seed}-{row['patient']}"} for row in rows)
    return table, (named[CLASSES[0]], named[CLASSES[1]])


TASKS: dict[str, Callable[[Path, int, int], tuple[Path, tuple[str, str]]]] = {
    "healthy": healthy_or_not,
    "border": borders,
}


def dataset(task: str, folder: Path, patients: int, seed: int, split: SplitOptions) -> Path:
    source, classes = TASKS[task](folder / "source", patients, seed)
    options = PrepareOptions(store_size=SIZE, workers=1, classes=classes)
    prepare_dataset(source, folder / "dataset", options, split, progress=False)
    return folder / "dataset"


def bundle(run_id: str, overlays: tuple[str, ...], **given: Any) -> None:
    """The bundle as from its command line."""
    files = [str(CONFIGS / f"{name}.json") for name in ("train", "without_teacher", *overlays)]
    small = {"image_size": SIZE, "batch_size": 16, "device": "cpu", "progress": False, "pictures_every": 0}
    workflow = ConfigWorkflow(files, run_id=run_id, logging_file=None, **small, **given)
    workflow.initialize()
    workflow.run()


def measured(folder: Path) -> dict[str, float]:
    slices = json.loads((folder / "test_metrics.json").read_text())["slices"]
    return {name: slices[name]["value"] for name in ("macro_auroc", "accuracy")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(TASKS), default="healthy")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--patients", type=int, default=12)
    parser.add_argument("--work", type=Path, default=None)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    home = arguments.work or Path(tempfile.mkdtemp(prefix="kdmri-"))
    began = time.time()

    write_phantoms(home / "three", patients=60, slices_per_patient=SLICES, size=SIZE, progress=False)
    options = PrepareOptions(store_size=SIZE, workers=1)
    prepare_dataset(home / "three", home / "three_dataset", options, SplitOptions(), progress=False)
    given: dict[str, Any] = {"dataset_dir": str(home / "three_dataset"), "output_dir": str(home / "start")}
    bundle("training", (), **given, max_epochs=40)
    bundle("evaluating", ("evaluate",), **given, bootstrap_replicates=50)
    print("the start, three classes:", measured(home / "start"), f"{time.time() - began:.0f} s", flush=True)

    asked = dataset(arguments.task, home / "asked", ASKED, 1000, SplitOptions(external=True))
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in range(arguments.seeds):
        split = SplitOptions(folds=6, validation=0.3)
        learned = dataset(arguments.task, home / f"learned_{seed}", arguments.patients, seed, split)
        for arm, (overlays, changed) in ARMS.items():
            given = {"output_dir": str(home / f"{arm.replace(' ', '_')}_{seed}"), "seed": seed}
            start = {"pretrained": str(home / "start" / "model.pt"), **changed} if overlays else {}
            bundle("training", overlays, **given, **start, dataset_dir=str(learned), max_epochs=arguments.epochs)
            bundle("evaluating", ("evaluate",), **given, dataset_dir=str(asked), bootstrap_replicates=50)
            found[arm].append(measured(Path(given["output_dir"])))
    for arm, values in found.items():
        told = {name: [round(one[name], 3) for one in values] for name in values[0]}
        means = {name: round(mean(one[name] for one in values), 3) for name in values[0]}
        print(f"{arm}: mean {means}, runs {told}")
    print(f"{time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
