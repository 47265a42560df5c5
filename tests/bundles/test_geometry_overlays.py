"""Overlays in which teacher or student see the geometry of the tumour, and what their runs write."""

import json

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser

from kdmri_monai.engines.explain import first_cause

NARROW = {"teacher_def#backbone#embed_dim": 12}
ALL_CRAFT = ("geometry_teacher", "geometry_head", "balanced", "erase_tumour")

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def distilled(bundle, home, taught):
    """Run of two epochs with teacher and student that see geometry, balanced sampling, erasing and averaged weights."""
    return bundle.train(*ALL_CRAFT, **taught, output_dir=str(home / "distilled"), max_epochs=2, gradient_norms_every=2)


def test_the_teacher_that_sees_geometry_trains_and_is_evaluated_with_the_masks(bundle, geometry_teacher, data):
    opened = bundle.open("geometry_teacher", "evaluate", **data, **NARROW, output_dir="unused")
    network = bundle.part(opened, "teacher_def")
    assert network.privileged_keys == ("mask", "has_mask")
    assert network.uses == "image; from the tumour mask: distance, rings, normal, curvature"
    assert network.state_dict().keys() == bundle.weights(geometry_teacher).keys()
    metrics = json.loads((geometry_teacher / "test_metrics.json").read_text())
    assert metrics["slices"]["n"] > 0
    assert bundle.curves(geometry_teacher)[0]["training"].keys() == {"loss", "task", "accuracy"}


def test_the_image_teacher_is_the_same_class_without_masks_and_teaches(bundle, home, data):
    names, folder = ("geometry_teacher", "image_teacher"), home / "image_teacher"
    trained = bundle.train(*names, "teacher", **data, **NARROW, output_dir=str(folder))
    assert type(bundle.part(trained, "network")).__name__ == "GeometryTeacher"
    assert bundle.part(trained, "network").uses == "image alone"
    assert bundle.part(trained, "privileged_keys") == []
    student = {"teacher_ckpt": str(folder / "model.pt"), "output_dir": str(home / "image_student")}
    bundle.train(*names, "terms_kd", **data, **NARROW, **student)
    assert bundle.curves(home / "image_student")[0]["training"]["kd"] > 0


def test_terms_and_their_gradients_stand_in_the_curves(bundle, distilled, home):
    rows = bundle.curves(home / "distilled")
    terms = {"kd", "hcl", "geometry"}
    for row in rows:
        assert row["training"].keys() == terms | {"loss", "task", "accuracy"}
        assert row["weighted"].keys() == row["gradient_norms"].keys() == terms | {"task"}
        assert terms < row["validation"].keys()
        assert row["gradient_norms"]["kd"] > 0
        assert row["gradient_norms"]["geometry"] > 0
        np.testing.assert_allclose(row["weighted"]["geometry"], row["training"]["geometry"], rtol=1e-6)
        np.testing.assert_allclose(sum(row["weighted"].values()), row["training"]["loss"], rtol=1e-5)
    ramped, full = (row["weighted"]["hcl"] / row["training"]["hcl"] for row in rows)
    assert 0 < ramped < 0.4  # it rises within the first epoch
    assert full == pytest.approx(0.5)


def test_what_the_terms_learn_is_in_the_checkpoint_and_in_no_student(bundle, distilled, home):
    state = torch.load(home / "distilled" / "checkpoint.pt", weights_only=True)
    distiller, student = (bundle.part(distilled, name).state_dict() for name in ("distiller", "network"))
    assert any(name.startswith("terms.hcl.term.fusion.") for name in distiller)
    assert equal(state["states"]["distiller"], distiller)
    assert equal(state["states"]["student"], student)
    saved = bundle.weights(home / "distilled")
    assert saved.keys() == student.keys()
    assert {name.split(".")[0] for name in saved} == {"backbone", "head"}
    assert not equal(saved, student)  # averaged weights are saved


class Interrupted(Exception):
    pass


def test_a_resumed_run_equals_an_uninterrupted_one_with_all_of_it_on(bundle, distilled, home, taught):
    given = taught | {"output_dir": str(home / "broken"), "max_epochs": 2, "gradient_norms_every": 2}
    first = bundle.open(*ALL_CRAFT, **given)
    assert first.check_properties() == []
    trainer = bundle.part(first, "train#trainer")

    @trainer.on(Events.ITERATION_COMPLETED)
    def stop(engine):
        if engine.state.epoch == 2:
            raise Interrupted

    with pytest.raises(RuntimeError) as told:
        first.run()
    assert isinstance(first_cause(told.value), Interrupted)
    second = bundle.train(*ALL_CRAFT, **given, resume=True)
    iterations = [bundle.part(one, "train#trainer").state.iteration for one in (distilled, second)]
    assert iterations[0] == iterations[1] > 3
    for name in ("network", "distiller"):
        assert equal(bundle.part(second, name).state_dict(), bundle.part(distilled, name).state_dict())
    averages = [bundle.part(one, "average").network.state_dict() for one in (distilled, second)]
    assert equal(*averages)
    assert equal(bundle.weights(home / "broken"), bundle.weights(home / "distilled"))
    rows = [[row | {"seconds": 0} for row in bundle.curves(home / name)] for name in ("distilled", "broken")]
    assert rows[0] == rows[1]


def test_a_geometry_head_learns_without_a_teacher_and_is_evaluated_with_its_evidence(bundle, home, data):
    names, given = ("without_teacher", "geometry_head"), data | {"output_dir": str(home / "head")}
    trained = bundle.train(*names, **given)
    assert bundle.part(trained, "teacher") is None
    assert bundle.curves(home / "head")[0]["training"].keys() == {"loss", "task", "geometry", "accuracy"}
    assert bundle.curves(home / "head")[0]["training"]["geometry"] > 0
    bundle.evaluate(*names, "evaluate", **given)
    bundle.evaluate(*names, "evidence", **given, parts=["localisation", "predicted_mask"])
    evidence = json.loads((home / "head" / "test_evidence.json").read_text())["sections"]
    assert evidence["predicted_mask"]["slices"] > 0
    assert evidence["localisation"]["methods"][0]["layer"] == "backbone.layer3"


def test_slices_without_masks_train_without_the_geometry_term(bundle, tmp_path, dataset):
    bundle.train("without_teacher", "geometry_head", dataset_dir=str(dataset), output_dir=str(tmp_path / "run"))
    row = bundle.curves(tmp_path / "run")[0]
    assert row["training"]["geometry"] == row["gradient_norms"]["geometry"] == 0
    assert row["training"]["loss"] == pytest.approx(row["training"]["task"])


def test_evidence_of_the_baseline_needs_no_other_overlay(bundle, home, data):
    given = data | {"output_dir": str(home / "baseline")}
    trained = bundle.train("baseline", **given)
    assert set(bundle.part(trained, "train#dataset")[0]) == {"image", "label", "id", "patient", "family"}
    bundle.evaluate("baseline", "evidence", **given, parts=["predictions", "network_controls", "localisation"])
    evidence = json.loads((home / "baseline" / "test_evidence.json").read_text())["sections"]
    assert evidence["localisation"]["methods"][0]["layer"] == "layer3"
    assert {row["name"] for row in evidence["network_controls"]["rows"]} >= {"intact", "erased_inpaint"}


def test_a_transformer_has_a_geometry_head_too(bundle, home, data):
    parser = ConfigParser(ConfigParser.load_config_files(bundle.files("cnn_to_vit")))
    checkpoint = home / "untrained_cnn.pt"
    torch.save(parser.get_parsed_content("teacher_def").state_dict(), checkpoint)
    given = data | {"teacher_ckpt": str(checkpoint), "teacher_data_unknown": True, "output_dir": str(home / "vit")}
    bundle.train("cnn_to_vit", "geometry_head", **given)
    row = bundle.curves(home / "vit")[0]
    assert row["training"].keys() == {"loss", "task", "kd", "hcl", "geometry", "accuracy"}
    assert row["gradient_norms"]["geometry"] > 0
    assert {"backbone", "head"} == {name.split(".")[0] for name in bundle.weights(home / "vit")}
