"""What a run's training data looked like: fitted, saved, read, compared with."""

import csv
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import resnet10
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.covariance import LedoitWolf

from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.patients import write_phantoms
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.sharing.trust import FILE, TrustFileError, TrustProfile, fit_trust, run_trust
from kdmri_monai.sharing.trust_distances import mahalanobis, unit_length
from kdmri_monai.sharing.trust_profile import HEADER, LARGEST
from kdmri_monai.sharing.trust_reasons import abstains, reasons
from kdmri_monai.sharing.trust_traits import traits

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "kd" / "configs"
SIDE, WIDEN = 32, 0.125


def student():
    torch.manual_seed(3)
    return resnet10(spatial_dims=2, n_input_channels=1, num_classes=3, conv1_t_stride=2, widen_factor=WIDEN)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    home = tmp_path_factory.mktemp("data")
    write_phantoms(home / "source", patients=24, size=64, progress=False)
    options = PrepareOptions(store_size=SIDE, workers=1), SplitOptions(validation=0.3)
    prepare_dataset(home / "source", home / "D", *options, progress=False)
    return home / "D"


@pytest.fixture(scope="module")
def run(tmp_path_factory, dataset):
    """A run as training leaves it, of a network that has learned nothing."""
    folder = tmp_path_factory.mktemp("run")
    files = [str(CONFIGS / f"{name}.json") for name in ("train", "baseline")]
    command = ["monai.bundle", "run", "training", "--config_file", repr(files), "--dataset_dir", str(dataset)]
    command += [f"--student_def#widen_factor={WIDEN}", "--image_size", str(SIDE)]
    (folder / "run.json").write_text(json.dumps({"command": command, "settings": {"image_size": SIDE}}))
    (folder / "config.json").write_text(json.dumps(ConfigParser.load_config_files(files)))
    torch.save(student().state_dict(), folder / "model.pt")
    return folder


@pytest.fixture(scope="module")
def profile(run):
    return fit_trust(run)


def entries(dataset, split):
    return json.loads((dataset / "datalist.json").read_text())[split]


def pixels(dataset, split):
    images = np.load(dataset / "images.npy")
    return [images[int(entry["image"].split("#")[1])] for entry in entries(dataset, split)]


def features(images):
    network, found = student().eval(), []
    network.fc.register_forward_hook(lambda _module, given, _output: found.append(given[0]))
    with torch.no_grad():
        network(torch.from_numpy(np.stack(images) / 255).float()[:, None])
    return found[0].double().numpy()


def test_the_distance_is_that_of_scikit_learn_on_features_of_unit_length(profile, dataset):
    def unit(split):
        found = features(pixels(dataset, split))
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    training, asked = unit("training"), unit("validation")
    label = np.array([entry["label"] for entry in entries(dataset, "training")])
    means = np.stack([training[label == k].mean(axis=0) for k in range(3)])
    inverse = np.linalg.inv(LedoitWolf(assume_centered=True).fit(training - means[label]).covariance_)
    expected = np.min([np.einsum("nc,cd,nd->n", asked - m, inverse, asked - m) for m in means], axis=0)
    found = mahalanobis(unit_length(features(pixels(dataset, "validation"))), profile.gaussians)
    np.testing.assert_allclose(found, expected, rtol=1e-3)  # float32 in the file
    family = [entry["family"] for entry in entries(dataset, "validation")]
    weight = np.array([1 / family.count(one) for one in family]) / len(set(family))
    below = [weight[expected <= limit * 1.001].sum() for limit in (profile.distance.median, profile.distance.far)]
    assert below[0] == pytest.approx(0.5, abs=0.5 / len(set(family)))
    assert 0.95 <= below[1] <= 1


def test_it_is_small_and_the_same_run_gives_the_same_bytes(profile, run, tmp_path):
    profile.save(tmp_path / "a")
    fit_trust(run).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_size < LARGEST


def test_what_was_saved_is_read_again(profile, tmp_path):
    profile.save(tmp_path / FILE)
    read = TrustProfile.load(tmp_path / FILE)
    assert read.to_bytes() == profile.to_bytes()
    assert (read.classes, read.store_size, read.distance) == (profile.classes, SIDE, profile.distance)
    assert dict(read.traits) == dict(profile.traits)
    np.testing.assert_array_equal(read.gaussians.means, profile.gaussians.means)
    assert read.gaussians.rest == profile.gaussians.rest


def test_no_array_has_a_row_for_a_slice(profile, dataset, tmp_path):
    profile.save(tmp_path / FILE)
    slices = {len(entries(dataset, split)) for split in ("training", "validation")}
    with safe_open(tmp_path / FILE, framework="numpy") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
        assert list(file.metadata()) == [HEADER]
    assert not slices & {size for shape in shapes for size in shape}


def test_counts_and_sizes_are_those_of_the_dataset(profile, dataset):
    for split in ("training", "validation"):
        families = {entry["family"] for entry in entries(dataset, split)}
        assert profile.counts[split] == {"slices": len(entries(dataset, split)), "families": len(families)}
    assert (profile.smallest_side, profile.longest_aspect) == (64, 1.0)


def test_validation_slices_are_seldom_odd_and_noise_always_is(profile, dataset):
    def odd(picture):
        return any(one.measure in profile.traits for one in reasons(profile, traits(picture), None, 1.0))

    family = [entry["family"] for entry in entries(dataset, "validation")]
    share = np.average(
        [odd(one) for one in pixels(dataset, "validation")], weights=[1 / family.count(f) for f in family]
    )
    assert share <= 0.021
    noise = np.random.default_rng(0).integers(0, 256, (10, SIDE, SIDE)).astype(np.uint8)
    assert all(odd(one) for one in noise)


def usual(profile):
    """Traits in the middle of their ranges."""
    return {name: (one.low + one.high) / 2 for name, one in profile.traits.items()}


@pytest.fixture
def sure(profile):
    """The profile of a network that may decide from 0.7 on."""
    from kdmri_monai.sharing.trust_limits import ConfidenceLimit

    return replace(profile, confidence=ConfidenceLimit(0.7, 0.05, 0.04, 0.01, 0.12, 0.9))


def test_nothing_is_said_against_a_usual_picture(sure):
    assert reasons(sure, usual(sure), sure.distance.median, 0.9, (64, 64)) == []


def test_a_far_picture_is_told_with_its_distance_and_that_of_validation_slices(sure):
    far, very_far = sure.distance.far, sure.distance.very_far
    [one] = reasons(sure, usual(sure), far * 1.0001, 0.9)
    assert (one.kind, one.hard) == ("far from training data", True)
    assert "95 % of validation slices lie below" in one.words
    [other] = reasons(sure, usual(sure), very_far * 1.5, 0.9)
    assert "99 % of validation slices lie below" in other.words
    assert f"{very_far * 1.5:.0f}" in other.words or f"{very_far * 1.5:.3g}" in other.words
    assert reasons(sure, usual(sure), far, 0.9) == []


def test_low_confidence_abstains_and_says_from_which_probability_on_decisions_are_made(sure):
    [one] = reasons(sure, usual(sure), None, 0.69)
    assert one.kind == "low confidence"
    assert "probability 0.69; at 0.70 and above 4 % of the decisions" in one.words
    assert abstains([one])
    [never] = reasons(replace(sure, confidence=None), usual(sure), None, 1.0)
    assert "no probability was right often enough" in never.words


def test_an_odd_number_is_told_with_the_range_of_training_slices(sure):
    value = sure.traits["corners"].most + 0.5
    [one] = reasons(sure, usual(sure) | {"corners": value}, None, 0.9)
    assert one.kind == "not a head"
    assert one.words.startswith("mean brightness of the corners 0.")
    assert "99 % of training slices lie in" in one.words
    [grain] = reasons(sure, usual(sure) | {"grain": 1.0}, None, 0.9)
    assert grain.kind == "input range odd"


def test_an_odd_size_alone_is_no_reason_to_abstain(sure):
    told = reasons(sure, usual(sure), None, 0.9, (20, 64))
    assert [one.measure for one in told] == ["side", "aspect"]
    assert not abstains(told)
    assert "smaller side 20 pixels; training slices had at least 64" in told[0].words


def test_the_reason_that_is_furthest_beyond_its_limit_comes_first(sure):
    found = usual(sure) | {"grain": 0.9, "corners": sure.traits["corners"].most + 0.01}
    told = reasons(sure, found, sure.distance.far * 1.01, 0.9, (10, 100))
    assert told[0].measure == "grain"
    assert [one.hard for one in told] == sorted([one.hard for one in told], reverse=True)


def test_a_profile_is_kept_beside_the_weights_and_fitted_again_for_others(run, profile, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    found, origin = run_trust(copy)
    assert origin == str(copy / FILE)
    assert (copy / FILE).read_bytes() == profile.to_bytes() == found.to_bytes()
    other = student()
    torch.nn.init.normal_(other.fc.weight)
    torch.save(other.state_dict(), copy / "model.pt")
    assert run_trust(copy)[0].weights_sha256 != profile.weights_sha256


def test_a_run_without_its_dataset_has_no_profile_and_says_why(run, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    record = json.loads((copy / "run.json").read_text())
    record["command"] = [word if word != record["command"][6] else str(tmp_path / "gone") for word in record["command"]]
    (copy / "run.json").write_text(json.dumps(record))
    found, why = run_trust(copy)
    assert found is None
    assert "there is no" in why
    assert "datalist.json" in why
    assert not (copy / FILE).exists()


def test_classes_of_few_families_are_told(run, caplog):
    with caplog.at_level(logging.WARNING):
        found = fit_trust(run)
    few = [name for name, count in found.counts["training_families"].items() if count < 5]
    told = [
        record.getMessage() for record in caplog.records if "in the trust profile is that of" in record.getMessage()
    ]
    assert len(told) == len(few)


@pytest.mark.parametrize("kind", ["text", "other", "no classes", "not finite", "negative", "sizes", "large", "missing"])
def test_what_is_no_profile_is_refused(profile, tmp_path, kind):
    path = tmp_path / FILE
    facts = json.loads(safe_metadata(profile, tmp_path))
    found = profile.gaussians
    arrays = {"means": found.means, "basis": found.basis, "variances": found.variances, "rest": np.ones(1)}
    if kind == "no classes":
        del facts["classes"]
    elif kind == "other":
        facts["format"] = "another"
    elif kind == "not finite":
        arrays["means"] = arrays["means"] * np.nan
    elif kind == "negative":
        arrays["variances"] = -arrays["variances"]
    elif kind == "sizes":
        arrays["means"] = arrays["means"][:, 1:]
    elif kind == "large":
        arrays["means"] = np.zeros((LARGEST, 1))
    content = {name: np.ascontiguousarray(value, np.float32) for name, value in arrays.items()}
    save_file(content, path, {HEADER: json.dumps(facts)})
    if kind == "text":
        path.write_text("no profile")
    if kind == "missing":
        path.unlink()
    with pytest.raises(FileNotFoundError if kind == "missing" else TrustFileError, match=str(path)):
        TrustProfile.load(path)


def safe_metadata(profile, folder):
    profile.save(folder / "plain")
    with safe_open(folder / "plain", framework="numpy") as file:
        return file.metadata()[HEADER]


def test_validation_predictions_are_written_once_for_the_temperature(run, profile):
    with (run / "validation_predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == profile.counts["validation"]["slices"]
