"""Pairs that differ in geometry alone. References: scikit-image for shape, scikit-learn for what tells the classes."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, label
from skimage.measure import regionprops
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.geometry_pairs import (
    LOBED,
    SMOOTH,
    geometry_pair_slice,
    reference_greys,
    write_geometry_pairs,
)
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions

SIZE = 64
PATIENTS = 42


def read(table):
    """Label, patient, image and mask of every row."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        image, mask = (np.asarray(Image.open(table.parent / row[column])) for column in ("path", "mask"))
        yield int(row["label"] == "glioma"), row["patient"], image, mask > 0


def brightness_area_and_place(image, mask):
    """All that is no outline: histogram, area, place, brightness of the tumour and of its surroundings, its spread."""
    around = binary_dilation(mask, iterations=4) & ~binary_dilation(mask)
    deep = ~binary_dilation(~mask, iterations=3)
    centre = np.argwhere(mask).mean(axis=0)
    return np.r_[np.histogram(image, 16, (0, 256))[0], image.mean(), image.std(), mask.sum(), centre,
                 image[around].mean(), image[deep].mean(), image[deep].std()]  # fmt: skip


def outline(image, mask):
    (shape,) = regionprops(mask.astype(int))
    return np.array([shape.solidity, 4 * np.pi * shape.area / shape.perimeter**2])


def found_by(cases, features):
    """Whether each slice is told by a linear model that was fitted on other patients."""
    x = np.array([features(image, mask) for _, _, image, mask in cases])
    y, patient = np.array([case[0] for case in cases]), np.array([case[1] for case in cases])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    return cross_val_predict(model, x, y, groups=patient, cv=folds) == y, patient


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_geometry_pairs(tmp_path_factory.mktemp("pairs") / "set", PATIENTS, 2, SIZE)


@pytest.fixture(scope="module")
def cases(table):
    return list(read(table))


def test_the_outline_tells_the_classes(cases):
    right, _ = found_by(cases, outline)
    assert right.mean() > 0.95


def test_nothing_else_does(cases):
    right, patient = found_by(cases, brightness_area_and_place)
    by_patient = np.array([right[patient == name].mean() for name in np.unique(patient)])
    margin = 1.96 * by_patient.std(ddof=1) / np.sqrt(len(by_patient))
    assert abs(by_patient.mean() - 0.5) < margin
    assert margin < 0.15


def test_every_slice_has_the_same_grey_values(cases):
    for _, _, image, _ in cases:
        np.testing.assert_array_equal(np.sort(image.ravel()), reference_greys(SIZE))


@pytest.mark.parametrize("seed", range(6))
def test_twins_differ_at_the_outline_alone(seed):
    (smooth, disc), (lobed, star) = (geometry_pair_slice(np.random.default_rng(seed), k, SIZE) for k in (SMOOTH, LOBED))
    assert disc.sum() == star.sum() > 90
    assert (disc != star).any()
    # a pixel of another brightness moves the ranks of all others a little
    far = ~binary_dilation(disc | star, iterations=4)
    assert np.abs(smooth[far].astype(int) - lobed[far]).max() <= 40
    assert np.abs(smooth[far].astype(int) - lobed[far]).mean() < 3


def test_a_tumour_is_one_piece_within_the_image(cases):
    for _, _, image, mask in cases:
        assert label(mask)[1] == 1
        assert not (mask[[0, -1]] | mask[:, [0, -1]].T).any()
        ring = binary_dilation(mask, iterations=4) & ~binary_dilation(mask)
        assert image[mask].mean() > image[ring].mean() + 20


def test_the_amplitude_makes_it_harder_until_there_is_no_difference():
    solidity = [
        np.mean([outline(*geometry_pair_slice(np.random.default_rng(k), LOBED, SIZE, amplitude))[0] for k in range(5)])
        for amplitude in (0.0, 0.12, 0.25, 0.4)
    ]
    assert (np.diff(solidity) < -0.02).all()
    pair = [geometry_pair_slice(np.random.default_rng(3), k, SIZE, amplitude=0.0) for k in (SMOOTH, LOBED)]
    np.testing.assert_array_equal(pair[0][0], pair[1][0])
    np.testing.assert_array_equal(pair[0][1], pair[1][1])


def test_lobes_of_the_cyst_are_as_frequent_in_both_classes():
    """The cyst is what differs between amplitudes in a slice with a smooth tumour."""
    lobed = []
    for seed in range(12):
        plain, waved = (geometry_pair_slice(np.random.default_rng(seed), SMOOTH, SIZE, a)[0] for a in (0.0, 0.4))
        lobed.append((plain != waved).any())
    assert 2 <= sum(lobed) <= 10


def test_prepare_reads_the_set_with_every_patient_a_family_of_its_own(table, tmp_path):
    split = SplitOptions(folds=5, fold=0)
    datalist = prepare_dataset(
        table.parent, tmp_path / "out", PrepareOptions(store_size=SIZE, workers=1), split, progress=False
    ).datalist
    parts = [datalist[part] for part in ("training", "validation", "test")]
    families = [{entry["family"] for entry in part} for part in parts]
    assert len(set.union(*families)) == PATIENTS == sum(map(len, families))
    assert {entry["label"] for part in parts for entry in part} == {SMOOTH, LOBED}
    assert sum(map(len, parts)) == 2 * PATIENTS
    for part in parts:
        assert {entry["label"] for entry in part} == {SMOOTH, LOBED}
    masks = np.load(tmp_path / "out" / "masks.npy", mmap_mode="r")
    assert len(masks) == 2 * PATIENTS
    assert masks.any(axis=(1, 2)).all()


def test_the_same_seed_gives_the_same_files_and_patients_do_not_depend_on_their_number(table, tmp_path):
    again, other = (write_geometry_pairs(tmp_path / name, 4, 2, SIZE, seed) for name, seed in (("a", 0), ("b", 1)))
    names = sorted(str(path.relative_to(again.parent)) for path in again.parent.rglob("*.png"))
    assert len(names) == 16
    for name in names:
        assert (again.parent / name).read_bytes() == (table.parent / name).read_bytes()
        assert (again.parent / name).read_bytes() != (other.parent / name).read_bytes()


def test_wrong_values_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    for arguments, message in (
        ({"label": 2}, "label is 2, allowed are 0 .smooth. and 1 .lobed."),
        ({"label": 0, "size": 32}, "size is 32"),
        ({"label": 0, "amplitude": 0.5}, r"amplitude is 0.5, allowed are 0\.\.0\.4"),
        ({"label": 0, "part": 0.1}, "part is 0.1"),
        ({"label": 0, "plane": "oblique"}, "plane is 'oblique'"),
    ):
        with pytest.raises(ValueError, match=message):
            geometry_pair_slice(rng, **arguments)
    with pytest.raises(ValueError, match="patients is 1, slices_per_patient 4, seed 0"):
        write_geometry_pairs(tmp_path, 1)
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(FileExistsError, match="choose an empty folder"):
        write_geometry_pairs(tmp_path, 2)
