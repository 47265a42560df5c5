"""Overlays that choose terms and teachers: mixup, fusion, cross-fitting, ensembles, caches, calibration, every term."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kdmri_monai.engines.explain import first_cause
from kdmri_monai.losses.catalogue import Terms

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "kd" / "configs"
SMALL = {"image_size": 64, "max_epochs": 1, "batch_size": 12, "device": "cpu", "progress": False}

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_mixup_reaches_the_softened_classes_and_values_are_overridden_by_their_place(bundle, home, taught):
    names = ("geometry_teacher", "terms_kd", "mixup", "class_weights")
    changed = {"terms#0#weight": 2.0, "ema_momentum": "$None"}
    trained = bundle.train(*names, **taught, **changed, output_dir=str(home / "mixed"))
    row = bundle.curves(home / "mixed")[0]
    assert row["weighted"].keys() == {"task", "kd"}
    assert row["weighted"]["kd"] == pytest.approx(2 * row["training"]["kd"])
    assert bundle.part(trained, "average").network is bundle.part(trained, "network")  # the average is off
    assert bundle.settings(home / "mixed")["ema_momentum"] is None
    assert bundle.part(trained, "train#trainer").prepare_batch.steps[0].alpha == 0.2
    labels = [int(entry["label"]) for entry in bundle.part(trained, "train#dataset_data")]
    weights = bundle.part(trained, "loss").weight.cpu() * torch.bincount(torch.tensor(labels))
    torch.testing.assert_close(weights, torch.full((3,), len(labels) / 3))


def test_fusion_alone_is_taught(bundle, home, taught):
    bundle.train("geometry_teacher", "terms_fusion", **taught, output_dir=str(home / "fusion"))
    assert bundle.curves(home / "fusion")[0]["training"].keys() == {"loss", "task", "hcl", "accuracy"}


def test_every_patient_is_taught_by_a_teacher_that_did_not_learn_from_it(bundle, home, untaught, members):
    folder = home / "crossfit"
    trained = bundle.train("crossfit", **untaught, teacher_ckpts=members, output_dir=str(folder))
    teacher = bundle.part(trained, "teacher")
    families = {entry["family"] for entry in bundle.part(trained, "train#dataset_data")}
    assert all(sum(family in learned for learned in teacher.families) == 1 for family in families)
    assert bundle.curves(folder)[0]["training"].keys() == {"loss", "task", "kd", "token_gram", "accuracy"}
    assert bundle.settings(folder)["teacher_ckpt"] == members


@pytest.mark.parametrize("shares", ["confidence", [3, 1]])
def test_several_teachers_teach_together(bundle, home, untaught, members, shares):
    folder = home / f"ensemble_{len(shares)}"
    given = untaught | {"teacher_ckpts": members, "teacher_weights": shares, "output_dir": str(folder)}
    teacher = bundle.part(bundle.train("ensemble", **given), "teacher")
    for member, path in zip(teacher.members, members, strict=True):
        assert equal(member.state_dict(), torch.load(path, weights_only=True))
    assert teacher.by_confidence is (shares == "confidence")
    assert bundle.curves(folder)[0]["training"]["kd"] > 0


def test_a_second_student_is_taught_from_the_cache_as_the_first_one_was(bundle, home, taught):
    names, cache = ("geometry_teacher", "cached_teacher"), home / "cache"
    asked, rows = [], []
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        given = taught | {"teacher_cache": str(cache), "output_dir": str(home / name), "seed": seed}
        workflow = bundle.open(*names, **given)
        assert workflow.check_properties() == []
        inner = bundle.part(workflow, "teacher").teacher
        inner.register_forward_hook(lambda *_, name=name: asked.append(name))
        workflow.run()
        rows.append(bundle.curves(home / name)[0])
        assert (cache / "epoch-00001-of-0.npz").is_file()
    assert asked.count("first") > 0
    assert asked.count("again") == asked.count("other") == 0
    assert rows[0] | {"seconds": 0} == rows[1] | {"seconds": 0}
    assert rows[2]["training"]["kd"] != rows[0]["training"]["kd"]


def test_views_that_are_not_replayed_are_refused_by_the_cache(bundle, tmp_path, taught):
    given = taught | {"output_dir": str(tmp_path / "run"), "teacher_cache": str(tmp_path / "cache"), "max_epochs": 2}
    workflow = bundle.open("geometry_teacher", "cached_teacher", "mixup", **given)
    teacher = bundle.part(workflow, "teacher")
    workflow.run()  # every view is new to an empty cache
    again = given | {"output_dir": str(tmp_path / "again"), "seed": 1}
    with pytest.raises(RuntimeError) as told:
        bundle.open("geometry_teacher", "cached_teacher", "mixup", **again).run()
    assert "something that is not replayed changes the images (mixing" in str(first_cause(told.value))
    assert teacher.folder == tmp_path / "cache"


@pytest.mark.filterwarnings("ignore:the temperature fitted to:UserWarning")
def test_the_teacher_is_calibrated_on_validation_patients(bundle, home, taught):
    folder = home / "calibrated"
    trained = bundle.train("geometry_teacher", "calibrated_teacher", **taught, output_dir=str(folder))
    temperature = bundle.part(trained, "teacher_temperature")
    assert bundle.part(trained, "distiller").read_teacher.temperature == temperature != 1.0
    assert bundle.settings(folder)["teacher_temperature"] == temperature


@pytest.mark.filterwarnings("ignore:.* with 3 classes:UserWarning")
def test_every_term_of_the_catalogue_runs_at_once(bundle, home, taught):
    names, folder = ("geometry_teacher", "geometry_head", "all_terms"), home / "all_terms"
    trained = bundle.train(*names, **taught, output_dir=str(folder), gradient_norms_every=1)
    row = bundle.curves(folder)[0]
    everything = {name.lower() for name in Terms.names}
    assert set(bundle.part(trained, "distiller").terms) == everything
    assert everything < row["training"].keys()
    assert np.isfinite(list(row["training"].values())).all()
    assert {name for name, norm in row["gradient_norms"].items() if not norm > 0} == set()
    assert bundle.part(trained, "distiller").terms["lelp"].term.fitted


def test_every_shipped_configuration_is_run_by_a_test():
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    shipped = {path.stem for path in CONFIGS.glob("*.json")} - {"metadata"}
    assert {name for name in shipped if f'"{name}"' not in tests} == set()


@pytest.mark.slow
def test_values_are_overridden_on_the_command_line(bundle, tmp_path, taught):
    names = str(bundle.files("geometry_teacher", "terms_kd"))
    given = [f"--{name}={value}" for name, value in (SMALL | taught | {"output_dir": tmp_path / "run"}).items()]
    changed = ["--terms#0#weight", "2.0", "--ema_momentum", "$None"]
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "training", "--config_file", names]
    told = subprocess.run([*command, *given, *changed], capture_output=True, text=True, check=False, cwd=ROOT)
    assert told.returncode == 0, told.stderr
    row = bundle.curves(tmp_path / "run")[0]
    assert row["weighted"]["kd"] == pytest.approx(2 * row["training"]["kd"])
    assert bundle.settings(tmp_path / "run")["ema_momentum"] is None
