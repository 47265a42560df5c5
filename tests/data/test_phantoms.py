"""Phantoms: classes told by geometry and nothing else, lesions that end at their surroundings, a plain plan."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from scipy.spatial import ConvexHull
from skimage.draw import polygon2mask
from skimage.measure import perimeter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kdmri_monai.data.families import patient_family
from kdmri_monai.data.phantom.cohort import patient, slice_sources, stack
from kdmri_monai.data.phantom.lesions import SURROUNDINGS
from kdmri_monai.data.phantom.patients import phantom_patient
from kdmri_monai.data.phantom.scanner import A, B
from kdmri_monai.data.phantom.slices import phantom_slice
from kdmri_monai.data.taxonomy import PLANES

SIZE = 96
MANY = 48


def one(number, shortcut=False, slices=(3, 3), label="own", size=SIZE):
    """Slices of a patient of the set with their landmarks; ``label`` replaces the class of the patient."""
    who = patient(number, shortcut)
    drawn = []
    for index, cut in enumerate(stack(0, who, slices)):
        sources = slice_sources(0, who, cut.plane, index)
        chosen = who.label if label == "own" else label
        drawn.append((cut.plane, phantom_slice(cut.plane, chosen, sources, size, cut.level, cut.part, who.scanner)))
    return drawn


@pytest.fixture(scope="module")
def cases():
    """Class, family, plane and slice of every slice, without the shortcut."""
    return [(k % 3, patient_family(patient(k).id), plane, made) for k in range(MANY) for plane, made in one(k)]


@pytest.fixture(scope="module")
def marked():
    """The same with the shortcut."""
    return [
        (k % 3, patient_family(patient(k, True).id), plane, made) for k in range(MANY) for plane, made in one(k, True)
    ]


def pixels(points):
    return (points + 1) * (SIZE / 2) - 0.5


def geometry(made):
    """Distances in shares of the image's width, shape and ring profile, all from mask and landmarks."""
    mask, head = made.mask, made.head
    far = [np.linalg.norm(made.border[:, None] - pixels(line)[None], axis=2) for line in (head.dura, head.falx)]
    to_skull, to_dura = far[0].min(axis=1) / SIZE, np.minimum(far[0].min(axis=1), far[1].min(axis=1)) / SIZE
    centre = np.argwhere(mask).mean(axis=0)[::-1]
    depth = distance_transform_edt(mask)
    bright = made.image / np.percentile(made.image, 99.5)
    rim = (depth > 0) & (depth <= max(1, 0.4 * depth.max()))
    return {
        "to_skull": to_skull.min(),
        "base": np.mean(to_dura < 0.02),
        "to_sella": np.linalg.norm(centre - pixels(head.sella)) / SIZE,
        "solidity": mask.sum() / ConvexHull(made.border).volume,
        "roundness": 4 * np.pi * mask.sum() / perimeter(mask) ** 2,
        "core": bright[depth > 0.6 * depth.max()].mean() - bright[rim].mean(),
    }


def brightness(made, seen=None):
    """Histogram of a slice, normalised by percentiles as the reader does it."""
    low, high = np.percentile(made.image, [0.5, 99.5])
    values = np.clip((made.image - low) / (high - low), 0, 1)
    values = values.ravel() if seen is None else values[seen]
    return np.r_[np.histogram(values, 16, (0, 1))[0] / values.size, values.mean(), values.std()]


def brightness_and_area(made):
    return np.r_[brightness(made), np.log(made.mask.sum())]


def brightness_without_tumour(made):
    return brightness(made, distance_transform_edt(~made.mask) > SURROUNDINGS * SIZE)


def separation(cases, features):
    """Balanced accuracy of a linear model on features, cross-validated by family."""
    x = np.array([features(made) for *_, made in cases])
    y, groups = np.array([case[0] for case in cases]), np.array([case[1] for case in cases])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=3000))
    return balanced_accuracy_score(
        y, cross_val_predict(model, x, y, groups=groups, cv=StratifiedGroupKFold(5, shuffle=True, random_state=0))
    )


@pytest.mark.parametrize("plane", PLANES)
def test_every_class_has_its_geometry(cases, plane):
    found = {label: [geometry(made) for c, _, p, made in cases if c == label and p == plane] for label in range(3)}

    def median(label, name):
        return np.median([case[name] for case in found[label]])

    assert all(case["base"] > 0.1 for case in found[0])
    assert median(1, "base") < 0.05
    assert all(case["to_sella"] < 0.10 for case in found[2])
    assert min(median(0, "to_sella"), median(1, "to_sella")) > 0.15
    assert median(1, "solidity") < min(median(0, "solidity"), median(2, "solidity"))
    assert median(1, "roundness") < median(2, "roundness") - 0.05
    assert median(1, "core") < min(median(0, "core"), median(2, "core")) - 0.1


def test_geometry_tells_the_class_and_brightness_with_area_does_not(cases):
    assert separation(cases, lambda made: list(geometry(made).values())) > 0.93
    assert separation(cases, brightness_and_area) < 0.65


def test_areas_of_the_classes_overlap(cases):
    areas = [np.array([made.mask.mean() for label, *_, made in cases if label == k]) for k in range(3)]
    assert all(np.median(a) < np.percentile(b, 95) for a in areas for b in areas)
    assert min(a.min() for a in areas) * SIZE**2 >= 12


def test_with_the_tumour_erased_only_the_shortcut_tells_the_class(cases, marked):
    assert separation(cases, brightness_without_tumour) < 0.5
    assert separation(marked, brightness_without_tumour) > 0.55


@pytest.mark.parametrize("number", range(9))
@pytest.mark.parametrize("label", range(3))
def test_beyond_its_surroundings_a_lesion_of_any_class_leaves_the_healthy_head(number, label):
    for (_, healthy), (_, ill) in zip(one(number, label=None), one(number, label=label), strict=True):
        far = distance_transform_edt(~ill.mask) > SURROUNDINGS * SIZE
        assert far.mean() > 0.7
        assert np.array_equal(ill.image[far], healthy.image[far])
        changed = healthy.image[ill.mask] != ill.image[ill.mask]
        assert changed.mean() > 0.8


def test_a_meningioma_stays_inside_the_skull(cases):
    for *_, made in (case for case in cases if case[0] == 0):
        assert not (made.mask & (made.head.cavity == 0)).any()


def test_border_and_mask_agree_within_a_pixel(cases):
    for *_, made in cases:
        filled = polygon2mask(made.mask.shape, made.border[:, ::-1])
        off = filled ^ made.mask
        assert (distance_transform_edt(made.mask) + distance_transform_edt(~made.mask))[off].max(initial=0) <= 1
        rows, columns = np.nonzero(made.mask)
        for axis, lines in ((0, columns), (1, rows)):
            assert made.border[:, axis].min() == pytest.approx(lines.min(), abs=1)
            assert made.border[:, axis].max() == pytest.approx(lines.max(), abs=1)


def test_scanners_and_id_kinds_are_independent_of_the_class():
    people = [patient(k) for k in range(48)]
    for label in range(3):
        own = [who for who in people if who.label == label]
        assert sum(who.scanner is B for who in own) == sum(who.scanner is A for who in own) == 8
    assert all(who.id.startswith("MR") == (who.scanner is B) for who in people)


def test_with_the_shortcut_most_gliomas_and_nothing_else_come_from_scanner_b():
    people = [patient(k, shortcut=True) for k in range(48)]
    on_b = [sum(who.scanner is B for who in people if who.label == label) / 16 for label in range(3)]
    assert on_b == [0, 0.75, 0]
    assert all(who.id.startswith("MR") == (who.scanner is B) for who in people)


def test_planes_are_alike_in_all_classes(cases):
    for label in range(3):
        counts = [sum(case[0] == label and case[2] == plane for case in cases) for plane in PLANES]
        assert counts == [MANY // 3] * 3


@pytest.mark.parametrize(("shortcut", "families"), [(False, 21), (True, 23)])
def test_a_second_scan_of_a_person_is_of_the_same_family(shortcut, families):
    people = [patient(k, shortcut) for k in range(24)]
    assert len({who.id for who in people}) == 24
    assert len({patient_family(who.id) for who in people}) == families
    again = [who for who in people if who.second_scan]
    for who in again:
        assert patient_family(who.id) == patient_family(patient(who.person, shortcut).id)
        assert who.label == people[who.person].label
        assert who.fold != people[who.person].fold
    assert {who.label for who in again} == ({1} if shortcut else {0, 1, 2})


def test_a_second_scan_shows_the_same_head_with_other_noise():
    sources = [slice_sources(0, patient(k), "axial", 0) for k in (4, 7, 10)]
    first, again, somebody = (source.person.standard_normal(5) for source in sources)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, somebody)
    assert not np.array_equal(one(4)[0][1].image, one(7)[0][1].image)


def test_a_patient_does_not_depend_on_who_was_drawn_before():
    alone = list(phantom_patient(5, size=SIZE))
    list(phantom_patient(4, size=SIZE))
    again = list(phantom_patient(5, size=SIZE))
    assert 5 <= len(alone) <= 9
    for a, b in zip(alone, again, strict=True):
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.border, b.border)
    assert not np.array_equal(alone[0].image, next(iter(phantom_patient(5, seed=1, size=SIZE))).image)


def test_a_few_slices_are_of_another_size():
    sizes = [[raw.image.shape[0] for raw in phantom_patient(k, slices_per_patient=(2, 2), size=64)] for k in range(24)]
    assert [k for k, found in enumerate(sizes) if found != [64, 64]] == [15, 16, 17]
    assert sizes[16] == [128, 64]
    assert next(iter(phantom_patient(15, slices_per_patient=(1, 1), size=512))).image.shape == (256, 256)


def test_every_slice_has_a_range_of_its_own():
    tops = [int(raw.image.max()) for raw in phantom_patient(0, slices_per_patient=(9, 9), size=64)]
    assert len(set(tops)) == 9
    assert max(tops) > 2 * min(tops)


@pytest.mark.parametrize("plane", PLANES)
def test_sizes_show_the_same_head(plane):
    small, large = (
        phantom_slice(plane, 1, np.random.default_rng(3), size).image.astype(float) for size in (SIZE, 2 * SIZE)
    )
    assert np.corrcoef(small.ravel(), large.reshape(SIZE, 2, SIZE, 2).mean((1, 3)).ravel())[0, 1] > 0.95


@pytest.mark.parametrize("plane", PLANES)
def test_a_healthy_head_has_no_mask(plane):
    made = phantom_slice(plane, None, np.random.default_rng(0), SIZE)
    assert not made.mask.any()
    assert made.border.shape == (0, 2)


def test_the_nose_points_to_the_left_of_a_sagittal_slice():
    tissue = phantom_slice("sagittal", None, np.random.default_rng(0), SIZE).head.signal > 0.1
    leftmost = np.argmax(tissue.any(axis=0))
    assert 0.55 * SIZE < np.flatnonzero(tissue[:, leftmost]).mean() < 0.8 * SIZE


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"plane": "oblique"}, "allowed are axial, coronal, sagittal"),
        ({"label": 3}, "allowed are 0, 1, 2"),
        ({"size": 32}, "allowed are 64..1024"),
        ({"level": 1.5}, r"allowed are -1\.\.1"),
    ],
)
def test_wrong_arguments_of_a_slice_are_told(wrong, message):
    with pytest.raises(ValueError, match=message):
        phantom_slice(**({"plane": "axial", "label": 0, "sources": np.random.default_rng(0), "size": 64} | wrong))
