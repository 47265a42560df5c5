"""Low-level features against SciPy and scikit-image, and what they catch and do not catch."""

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.draw import disk
from skimage.measure import regionprops
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from kdmri_monai.evaluation.family_probe import STRENGTHS, fit_probe, probe_probabilities
from kdmri_monai.evaluation.low_level import low_level_controls, outside_features
from kdmri_monai.evaluation.low_level_features import NAMES, extent, head_of, low_level_features, noise_level, spectrum
from kdmri_monai.evaluation.matched_holes import matched_holes
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.split_slices import whole_split

FEW = Resampling(300)
SIZE = 48
CLASSES = ("low", "middle", "high")
AT = {name: k for k, name in enumerate(NAMES)}


def round_heads(count, seed=0):
    """Discs of uneven brightness and of several sizes in dark, noisy air, and where they are."""
    rng = np.random.default_rng(seed)
    images, discs = np.abs(0.01 * rng.normal(size=(count, SIZE, SIZE))), np.zeros((count, SIZE, SIZE), dtype=bool)
    for image, disc in zip(images, discs, strict=True):
        rows, columns = disk(rng.uniform(20, 28, 2), rng.uniform(13, 18), shape=image.shape)
        disc[rows, columns] = True
        image[disc] = rng.uniform(0.4, 0.6) + 0.05 * rng.normal(size=disc.sum())
    return np.clip(images, 0, 1), discs


def slices_of(families=24, per_family=3, tell=None, size_of=(5, 5, 5), seed=0, first=0):
    """Heads with a tumour; ``tell(images, label, mask)`` changes what shall tell the class."""
    rng = np.random.default_rng(seed)
    number = first + np.repeat(np.arange(families), per_family)
    label = number % 3
    images, _ = round_heads(len(number), seed)
    mask = np.zeros(images.shape, dtype=bool)
    for k, (row, column) in enumerate(rng.integers(16, 26, (len(number), 2))):
        mask[k, row : row + size_of[label[k]], column : column + size_of[label[k]]] = True
    if tell is not None:
        images = tell(images, label, mask)
    return {
        "image": torch.from_numpy(images[:, None]).float(),
        "label": torch.from_numpy(label),
        "mask": torch.from_numpy(mask[:, None]).float(),
        "has_mask": torch.ones(len(number), dtype=torch.bool),
        "id": [f"s{first}.{k}" for k in range(len(number))],
        "patient": [f"p{k}" for k in number],
        "family": [f"f{k}" for k in number],
    }


def splits(**more):
    sets = {"training": slices_of(seed=1, **more), "test": slices_of(seed=2, first=300, **more)}
    return lambda split: [sets[split]]


def controls(**more):
    outside, whole = low_level_controls(splits(**more), CLASSES, FEW)
    assert (outside.name, whole.name) == ("low_level_outside", "low_level_whole")
    assert whole.caught is None
    return outside, whole


def test_statistics_are_those_of_scipy_over_the_head_without_the_hole():
    images, discs = round_heads(5)
    hole = np.zeros(images.shape, dtype=bool)
    hole[:, 22:27, 20:25] = True
    found = low_level_features(images, hole)
    images = images.astype(np.float32).astype(np.float64)
    for values, image, disc, gone in zip(found, images, discs, hole, strict=True):
        seen = image[disc & ~gone]
        shares = np.histogram(seen, 16, (0, 1))[0] / seen.size
        assert values[:3] == pytest.approx([seen.mean(), seen.std(), stats.skew(seen)], rel=1e-6, abs=1e-6)
        assert values[3:19] == pytest.approx(shares)
        box = regionprops(disc.astype(int))[0].bbox
        assert values[AT["head area"]] == pytest.approx(disc.mean())
        assert [values[AT[f"head {side}"]] * SIZE for side in ("top", "left", "bottom", "right")] == pytest.approx(box)
        assert values[AT["upper edge"]] == pytest.approx(image[:2].mean())


def test_the_head_is_the_largest_bright_part_with_its_dark_middle():
    image = np.zeros((SIZE, SIZE))
    head = np.zeros(image.shape, dtype=bool)
    head[disk((24, 24), 15)] = True
    image[head] = 0.6
    image[20:26, 20:26] = 0.02
    image[1:3, 1:3] = 0.9
    assert np.array_equal(head_of(image), head)
    assert not head_of(np.full((SIZE, SIZE), 0.3)).any()
    assert np.array_equal(extent(np.zeros((1, 8, 8), dtype=bool)), np.zeros((1, 5)))


def test_the_noise_level_is_the_deviation_of_white_noise_on_a_slope():
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 1, 200)[:, None] + np.linspace(0, 0.5, 200)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    for deviation in (0.01, 0.05):
        image = slope + deviation * rng.normal(size=slope.shape)
        windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3))
        residual = np.abs((windows * kernel).sum((2, 3)))[None]
        assert noise_level(residual, np.ones(residual.shape, dtype=bool)) == pytest.approx([deviation], rel=0.03)


def test_noise_and_air_are_told_apart():
    images, discs = round_heads(4)
    found = low_level_features(images)
    assert (found[:, AT["air noise"]] < 0.01).all()
    assert (found[:, AT["head noise"]] > 3 * found[:, AT["air noise"]]).all()
    air = np.array([image[~disc].mean() for image, disc in zip(images, discs, strict=True)])
    assert found[:, AT["air mean"]] == pytest.approx(air, rel=0.1)


@pytest.mark.parametrize(("cycles", "band"), [(2, 0), (10, 2), (18, 4), (26, 6)])
def test_a_wave_has_its_energy_in_its_band(cycles, band):
    wave = np.cos(2 * np.pi * cycles * np.arange(64) / 64)
    for image in (np.tile(wave, (64, 1)), np.tile(wave[:, None], (1, 64))):
        shares = 10 ** spectrum(image[None])[0]
        assert shares.sum() == pytest.approx(1)
        assert shares[band] > 0.95


def test_no_pixel_of_a_hole_has_any_influence():
    images, _ = round_heads(3)
    hole = np.zeros(images.shape, dtype=bool)
    hole[:, 20:28, 10:25] = True
    assert np.array_equal(low_level_features(images, hole), low_level_features(np.where(hole, 0.9, images), hole))
    assert not np.allclose(low_level_features(images), low_level_features(np.where(hole, 0.9, images)))


def test_every_slice_has_finite_numbers_however_empty():
    images = np.stack([np.zeros((20, 30)), np.full((20, 30), 0.7), np.eye(20, 30)])
    assert low_level_features(images).shape == (3, len(NAMES))
    assert np.isfinite(low_level_features(images)).all()
    assert low_level_features(images[:0]).shape == (0, len(NAMES))


def test_slices_do_not_depend_on_their_neighbours():
    images, _ = round_heads(40)
    whole = low_level_features(images)
    assert np.allclose(whole[35], low_level_features(images[35:36])[0])
    with pytest.raises(ValueError, match=r"expected two of \(N, H, W\), at least 16 pixels a side"):
        low_level_features(images[:, :10])
    with pytest.raises(ValueError, match="expected two of"):
        low_level_features(images, np.zeros((40, 9, 9), dtype=bool))


def test_every_slice_loses_a_tumour_of_every_class():
    slices = slices_of()
    places = {0: slice(0, 10), 1: slice(16, 26), 2: slice(34, 44)}
    slices["mask"][:] = 0
    for mask, label in zip(slices["mask"], slices["label"].tolist(), strict=True):
        mask[:, places[label], 20:30] = 1
    batch = whole_split([slices])
    holes = matched_holes(batch, batch, 0)
    for place in places.values():
        assert holes[:, place, 20:30].all()
    assert holes.sum() == 72 * 3 * 100
    assert matched_holes(batch, batch, 1).sum() == 72 * (2 * 12 * 12 + 11 * 12)
    assert np.array_equal(matched_holes(batch, batch, 1, 5), matched_holes(batch, batch, 1, 5))


def test_the_size_of_the_tumour_is_not_told_by_its_hole():
    """Without the matched holes it is: the same heads, no shortcut, tumours of three sizes."""
    outside, whole = controls(size_of=(3, 9, 15))
    assert outside.caught is False
    assert outside.null_low < outside.value < outside.null_high
    training, test = (whole_split(splits(size_of=(3, 9, 15))(name)) for name in ("training", "test"))
    own = [low_level_features(part.image[:, 0].numpy(), part.mask[:, 0].numpy() > 0) for part in (training, test)]
    probe = fit_probe(own[0], training.label.numpy(), np.array(training.family))
    assert (probe.predict(own[1]) == test.label.numpy()).mean() > 0.5
    assert whole.n == outside.n == 72


def brightened_tumours(images, label, mask):
    return np.where(mask, 0.2 + 0.3 * label[:, None, None], images)


def test_the_brightness_of_the_tumour_is_no_shortcut():
    outside, whole = controls(tell=brightened_tumours, size_of=(9, 9, 9))
    assert outside.caught is False
    assert whole.value > 0.6


def other_scanner(images, label, mask):
    return np.clip(images + 0.02 * label[:, None, None], 0, 1)


def test_a_veil_over_the_air_is_caught():
    outside, _ = controls(tell=other_scanner)
    assert outside.caught is True
    assert outside.value > 0.9


def test_slices_without_mask_are_left_out_outside_of_the_tumour():
    sets = {"training": slices_of(seed=1), "test": slices_of(seed=2, first=300)}
    sets["test"]["has_mask"][::2] = False
    outside, whole = low_level_controls(lambda split: [sets[split]], CLASSES, FEW)
    assert (outside.n, whole.n) == (36, 72)
    sets["training"]["has_mask"][:] = False
    outside, whole = low_level_controls(lambda split: [sets[split]], CLASSES, FEW)
    assert np.isnan([outside.value, outside.null_high]).all()
    assert "has a mask" in outside.explains
    assert not np.isnan(whole.value)
    assert [len(table) for table in outside_features(*(whole_split([sets[name]]) for name in sets))] == [0, 0]


def test_too_few_families_give_a_row_without_numbers():
    sets = {"training": slices_of(families=3, seed=1), "test": slices_of(seed=2, first=300)}
    for row in low_level_controls(lambda split: [sets[split]], CLASSES, FEW):
        assert np.isnan(row.value)
        assert row.caught is None
        assert "two classes of two families" in row.explains


def scores_by_strength(features, label, family):
    folds = list(StratifiedGroupKFold(5, shuffle=True, random_state=0).split(features, label, family))
    scores = {}
    for strength in STRENGTHS:
        found = []
        for learned, asked in folds:
            scaler = StandardScaler().fit(features[learned])
            model = LogisticRegression(C=strength, class_weight="balanced", max_iter=5000)
            model.fit(scaler.transform(features[learned]), label[learned])
            found.append(balanced_accuracy_score(label[asked], model.predict(scaler.transform(features[asked]))))
        scores[strength] = np.mean(found)
    return scores


@pytest.mark.parametrize("seed", range(3))
def test_the_probe_chooses_its_strength_by_families(seed):
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(30), 8)
    label, family = (np.arange(30) % 2)[number], number.astype(str)
    features = rng.normal(size=(30, 40))[number] + 0.1 * rng.normal(size=(240, 40))
    features[:, :20] += 0.4 * label[:, None]
    probe, scores = fit_probe(features, label, family), scores_by_strength(features, label, family)
    assert scores[probe[-1].C] == max(scores.values()) > min(scores.values())
    assert probe_probabilities(probe, features, 4)[:, 2:].sum() == 0
    assert probe_probabilities(probe, features, 4).sum(axis=1) == pytest.approx(np.ones(240))
    with pytest.raises(ValueError, match="two classes of two families each, got 1 classes"):
        fit_probe(features, np.zeros(240, dtype=int), number.astype(str))


def test_a_split_without_slices_or_with_images_of_two_sizes_is_refused():
    with pytest.raises(ValueError, match="the split has no slices"):
        whole_split([])
    slices = slices_of(families=3)
    small = {**slices, "image": slices["image"][..., :20], "mask": slices["mask"][..., :20]}
    with pytest.raises(ValueError, match=r"different sizes: \(1, 48, 20\), \(1, 48, 48\)"):
        whole_split([slices, small])
