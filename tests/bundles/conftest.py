"""A small dataset folder, prepared from pictures, whose classes differ in the place of a blob."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "kd" / "configs"
PATIENTS = 10


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


@pytest.fixture
def configs():
    """Paths of shipped configurations by name."""
    return lambda *names: [str(CONFIGS / f"{name}.json") for name in names]
