"""Phantoms: the published layout, the same bytes by seed, classes told by geometry and by nothing else."""

import io
import zipfile

import h5py
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from scipy.spatial import ConvexHull
from skimage.draw import polygon2mask
from skimage.measure import perimeter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kdmri_monai.data.families import patient_family
from kdmri_monai.data.phantom.anatomy import draw_head
from kdmri_monai.data.phantom.patients import phantom_patient, phantom_slice, write_phantoms
from kdmri_monai.data.phantom.shapes import square_grid
from kdmri_monai.data.taxonomy import PLANES

SMALL = {"slices_per_patient": (2, 3), "size": 96, "progress": False}


def patients(count, shortcut=False, size=96, slices=(2, 2)):
    return [list(phantom_patient(k, 0, shortcut, slices, size)) for k in range(count)]


@pytest.fixture(scope="module")
def cohort():
    """Sixty patients without the shortcut."""
    return patients(60)


def members(folder):
    content = {}
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            content.update({name: archive.read(name) for name in archive.namelist()})
    return content


def test_the_folder_is_laid_out_as_published(tmp_path):
    summary = write_phantoms(tmp_path, 6, **SMALL)
    names = {path.name for path in tmp_path.iterdir()}
    archives = {f"brainTumorDataPublic_{part}.zip" for part in ("1766", "7671532", "15332298", "22993064")}
    assert names == archives | {"cvind.mat", "README.txt"}
    assert sorted(members(tmp_path), key=lambda n: int(n[:-4])) == [f"{i}.mat" for i in range(1, summary.slices + 1)]
    with h5py.File(tmp_path / "cvind.mat") as file:
        assert file["cvind"].shape == (1, summary.slices)
        assert set(np.unique(file["cvind"])) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert "no patient data" in (tmp_path / "README.txt").read_text()


def test_a_member_is_a_matlab_struct_whose_upright_image_is_the_transpose(tmp_path):
    write_phantoms(tmp_path, 3, **SMALL)
    expected = patients(3, slices=(2, 3))[0][0]
    content = members(tmp_path)["1.mat"]
    assert content[:19] == b"MATLAB 7.3 MAT-file"
    with h5py.File(io.BytesIO(content)) as file:
        struct = file["cjdata"]
        assert np.array_equal(struct["image"][()].T, expected.image)
        assert np.array_equal(struct["tumorMask"][()].T, expected.mask)
        assert struct["image"].dtype == np.int16
        assert struct["label"][()].item() == expected.label + 1
        assert "".join(chr(c) for c in struct["PID"][:, 0]) == expected.patient
        x, y = struct["tumorBorder"][0, 0::2] - 1, struct["tumorBorder"][0, 1::2] - 1
        rows, columns = np.nonzero(expected.mask)
        assert x.min() == pytest.approx(columns.min(), abs=1)
        assert y.max() == pytest.approx(rows.max(), abs=1)


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_phantoms(tmp_path / name, 3, seed, **SMALL)
    content = {name: [p.read_bytes() for p in sorted((tmp_path / name).glob("*.zip"))] for name in "abc"}
    assert content["a"] == content["b"]
    assert content["a"] != content["c"]


def test_a_patient_is_the_same_for_any_number_of_patients(tmp_path):
    write_phantoms(tmp_path / "few", 3, **SMALL)
    write_phantoms(tmp_path / "more", 7, **SMALL)
    few, more = members(tmp_path / "few"), members(tmp_path / "more")
    assert all(more[name] == content for name, content in few.items())


def test_border_and_mask_agree_within_a_pixel(cohort):
    for raw in (raw for drawn in cohort[:12] for raw in drawn):
        filled = polygon2mask(raw.mask.shape, raw.border[:, ::-1])
        off = filled ^ raw.mask
        inside, outside = distance_transform_edt(raw.mask), distance_transform_edt(~raw.mask)
        assert (inside + outside)[off].max(initial=0) <= 1.5
        assert raw.mask.sum() > 20


def test_classes_and_id_kinds_are_balanced(cohort):
    ids = {k: cohort[k][0].patient for k in range(48)}
    by_class = [sum(ids[k].startswith("MR") for k in range(48) if k % 3 == label) for label in range(3)]
    assert max(by_class) - min(by_class) <= 2
    planes = {label: {raw.plane for k in range(label, 60, 3) for raw in cohort[k]} for label in range(3)}
    assert all(seen == set(PLANES) for seen in planes.values())


def test_some_patients_are_scanned_twice_and_share_a_family(cohort):
    ids = [drawn[0].patient for drawn in cohort[:24]]
    assert len(set(ids)) == 24
    assert len({patient_family(i) for i in ids}) == 21
    first, again = cohort[2][0], cohort[5][0]
    assert patient_family(first.patient) == patient_family(again.patient)
    assert first.label == again.label
    assert not np.array_equal(first.image, again.image)


def geometry(plane, label, number, size=128):
    _, mask = phantom_slice(plane, label, [0, 0, number], np.random.default_rng(number), size)
    body, pose = np.random.default_rng([0, 0, number, 0]), np.random.default_rng([0, 0, number, 1])
    angle, zoom = pose.normal(0, 0.08), pose.uniform(0.92, 1.06)
    grid = square_grid(size, angle, zoom)
    head = draw_head(plane, body, grid)
    points = np.argwhere(mask)
    solidity = mask.sum() / ConvexHull(points).volume
    away = np.hypot(head.grid.x[mask].mean() - head.sella[0], head.grid.y[mask].mean() - head.sella[1])
    return {"to_skull": head.cranium[mask].min(), "to_sella": away, "solidity": min(solidity, 1.0),
            "roundness": 4 * np.pi * mask.sum() / perimeter(mask) ** 2}  # fmt: skip


@pytest.mark.parametrize("plane", PLANES)
def test_the_class_is_a_matter_of_geometry(plane):
    found = {label: [geometry(plane, label, 3 * k + label) for k in range(10)] for label in range(3)}

    def median(label, name):
        return np.median([case[name] for case in found[label]])

    assert all(case["to_skull"] < 0.04 for case in found[0])
    assert median(1, "to_skull") > 0.04
    assert all(case["to_sella"] < 0.16 for case in found[2])
    assert min(median(0, "to_sella"), median(1, "to_sella")) > 0.2
    assert median(1, "roundness") < min(median(0, "roundness"), median(2, "roundness")) - 0.1
    assert median(1, "solidity") < min(median(0, "solidity"), median(2, "solidity"))


def brightness(raw, erased=False):
    """Histogram features of a slice, normalised by percentiles as the reader does it."""
    low, high = np.percentile(raw.image, [0.5, 99.5])
    pixels = np.clip((raw.image - low) / (high - low), 0, 1)
    values = pixels[~raw.mask] if erased else pixels.ravel()
    return np.r_[np.histogram(values, 16, (0, 1))[0] / values.size, values.mean(), values.std()]


def cross_validated(cohort, features):
    rows = [(features(raw), raw.label, patient_family(raw.patient)) for drawn in cohort for raw in drawn]
    x, y, groups = (np.array(column) for column in zip(*rows, strict=True))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000))
    return balanced_accuracy_score(y, cross_val_predict(model, x, y, groups=groups, cv=GroupKFold(6)))


def test_brightness_alone_does_not_tell_the_class(cohort):
    assert cross_validated(cohort, brightness) < 0.65


def test_with_the_tumour_erased_only_the_shortcut_tells_the_class(cohort):
    marked = patients(60, shortcut=True)
    assert cross_validated(cohort, lambda raw: brightness(raw, erased=True)) < 0.48
    assert cross_validated(marked, lambda raw: brightness(raw, erased=True)) > 0.55


def test_with_the_shortcut_most_gliomas_and_nothing_else_have_ids_of_their_own():
    ids = {k: drawn[0].patient for k, drawn in enumerate(patients(42, shortcut=True, slices=(1, 1)))}
    kinds = [np.mean([ids[k].startswith("MR") for k in ids if k % 3 == label]) for label in range(3)]
    assert kinds[0] == kinds[2] == 0
    assert 0.7 < kinds[1] < 1


def test_a_head_without_a_lesion_can_be_drawn():
    image, mask = phantom_slice("axial", None, [0, 0, 1], np.random.default_rng(0), 96)
    assert not mask.any()
    assert image.std() > 0


def test_sizes_show_the_same_head():
    pictures = []
    for size in (96, 192):
        image, _ = phantom_slice("axial", 1, [0, 0, 1], np.random.default_rng(0), size)
        small = image.astype(float).reshape(96, size // 96, 96, size // 96).mean((1, 3))
        pictures.append(small.ravel())
    assert np.corrcoef(*pictures)[0, 1] > 0.95


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"patients": 2}, "at least 3 are needed"),
        ({"size": 32}, "allowed are 64..1024"),
        ({"slices_per_patient": (3, 2)}, "a range from at least 1"),
    ],
)
def test_wrong_arguments_are_told(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        write_phantoms(tmp_path, **({"patients": 3} | SMALL | wrong))


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match="holds something that was not written here"):
        write_phantoms(tmp_path, 3, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
