"""Small dataset folders whose classes differ in the place of a blob: one of pictures alone, one with masks."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, run
from PIL import Image

from kdmri_monai.data.crossfit import crossfit_datalists
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "kd" / "configs"
PATIENTS = 10
SMALL = {"image_size": 64, "max_epochs": 1, "batch_size": 12, "device": "cpu", "progress": False}
NARROW = {"teacher_def#backbone#embed_dim": 12}
NARROW_PLAIN = NARROW | {"teacher_def#num_features": 192}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """class / patient / slice.png, two slices of ten patients a class."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("meningioma", "glioma", "pituitary_tumor")):
        for patient in range(PATIENTS):
            home = folder / name / f"{label}{patient:02d}"
            home.mkdir(parents=True)
            for number in range(2):
                image = rng.normal(60, 12, (64, 64))
                row, column = 10 + 16 * label + rng.integers(-3, 4), 20 + rng.integers(-6, 7)
                image[row : row + 9, column : column + 9] += 120
                Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(home / f"{label}{patient:02d}_{number}.png")
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory, pictures):
    """A dataset folder of ``kdmri prepare``."""
    out = tmp_path_factory.mktemp("dataset")
    prepare_dataset(pictures, out, PrepareOptions(store_size=64, workers=1), SplitOptions(), progress=False)
    return out


@pytest.fixture(scope="session")
def masked_dataset(tmp_path_factory):
    """A dataset folder of a table of files: two slices of eight patients a class, every sixth slice without a mask."""
    folder, out = tmp_path_factory.mktemp("table"), tmp_path_factory.mktemp("masked_dataset")
    rng, rows = np.random.default_rng(1), []
    for number in range(48):
        patient, label = number // 2, number // 2 % 3
        image, mask = rng.normal(60, 12, (64, 64)), np.zeros((64, 64), np.uint8)
        row, column, size = 10 + 16 * label + rng.integers(-3, 4), 20 + rng.integers(-6, 7), rng.integers(7, 13)
        mask[row : row + size, column : column + 10] = 255
        image[mask > 0] += 120
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / f"{number}_mask.png")
        masked = f"{number}_mask.png" if number % 6 else ""
        rows.append([f"{number}.png", label + 1, f"P{patient:02d}", masked])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "patient", "mask"], *rows])
    prepare_dataset(folder, out, PrepareOptions(store_size=64, workers=1), SplitOptions(), progress=False)
    return out


@pytest.fixture
def configs():
    """Paths of shipped configurations by name."""
    return lambda *names: [str(CONFIGS / f"{name}.json") for name in names]


class Bundle:
    """The bundle as shipped, small: batches of 12 of about 30 training slices, so an epoch is three steps."""

    @staticmethod
    def files(*overlays):
        """Paths of ``train.json`` and of overlays by name."""
        return [str(CONFIGS / f"{name}.json") for name in ("train", *overlays)]

    def open(self, *overlays, **given):
        """A training workflow that is ready to run."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "excepthook", sys.excepthook)  # explain_failures wraps it
            workflow = ConfigWorkflow(config_file=self.files(*overlays), run_id="training", **SMALL | given)
            workflow.initialize()
        return workflow

    def train(self, *overlays, **given):
        """The workflow after training, and after MONAI's own check of it."""
        workflow = self.open(*overlays, **given)
        assert workflow.check_properties() == []
        workflow.run()
        return workflow

    def evaluate(self, *overlays, **given):
        """Run ``evaluating`` of the overlays, of which the last one is ``evaluate`` or ``evidence``."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "excepthook", sys.excepthook)
            run(run_id="evaluating", config_file=self.files(*overlays), **SMALL | given)

    @staticmethod
    def part(workflow, name):
        """What an id of a workflow became."""
        return workflow.parser.get_parsed_content(name)

    @staticmethod
    def curves(folder):
        """Lines of ``metrics.jsonl``."""
        return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]

    @staticmethod
    def settings(folder):
        """What ``run.json`` says that was set."""
        return json.loads((folder / "run.json").read_text())["settings"]

    @staticmethod
    def weights(folder):
        """Content of ``model.pt``."""
        return torch.load(folder / "model.pt", weights_only=True)


@pytest.fixture(scope="session")
def bundle():
    """Opens, trains and evaluates the bundle with overlays."""
    return Bundle()


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """Where runs on the dataset with masks are."""
    return tmp_path_factory.mktemp("overlays")


@pytest.fixture(scope="session")
def data(masked_dataset):
    """Overrides that name the dataset with masks."""
    return {"dataset_dir": str(masked_dataset)}


@pytest.fixture(scope="session")
def geometry_teacher(bundle, home, data):
    """Run folder of a teacher that was given the masks, evaluated."""
    names, given = ("geometry_teacher", "teacher"), data | NARROW | {"output_dir": str(home / "geometry_teacher")}
    bundle.train(*names, **given)
    bundle.evaluate(*names, "evaluate", **given, bootstrap_replicates=50)
    return home / "geometry_teacher"


@pytest.fixture(scope="session")
def taught(data, geometry_teacher):
    """Overrides that give a student the teacher that sees geometry."""
    return data | NARROW | {"teacher_ckpt": str(geometry_teacher / "model.pt")}


@pytest.fixture(scope="session")
def untaught(data):
    """Overrides that give an image teacher its narrow size."""
    return data | NARROW_PLAIN


@pytest.fixture(scope="session")
def members(bundle, home, untaught, masked_dataset):
    """Checkpoints of two teachers, each trained without one half of the training families."""
    checkpoints = []
    for number, datalist in enumerate(crossfit_datalists(masked_dataset / "datalist.json", parts=2)):
        folder = home / f"member_{number}"
        bundle.train("teacher", **untaught, datalist=str(datalist), output_dir=str(folder))
        checkpoints.append(str(folder / "model.pt"))
    return checkpoints
