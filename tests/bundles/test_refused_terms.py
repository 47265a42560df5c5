"""Terms that lack what they need: refused before training, and the last line that the user reads says why."""

import re
import sys

import pytest
import torch
from monai.bundle import ConfigParser

from kdmri_monai.engines.explain import explain_failures, first_cause

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")

REFUSED = {
    "no head": (("geometry_teacher",), {"terms": [{"name": "geometry"}]}, r"`geometry`: wants one student tap of 7"),
    "no teacher": (("without_teacher",), {"terms": [{"name": "kd"}]}, r"`kd` wants a teacher; there is none"),
    "no such term": (("without_teacher",), {"terms": [{"name": "kld"}]}, r"there is no term 'kld'; known are"),
    "no such tap": (
        ("geometry_teacher", "terms_fusion"),
        {"student_taps": ["layer1", "layer2", "layer3", "layer9"]},
        r"`hcl` wants maps; .*layer9",
    ),
    "cache": (
        ("geometry_teacher", "cached_teacher"),
        {"terms": [{"name": "token_gram"}]},
        r"`token_gram` wants maps; a CachedTeacher gives logits only",
    ),
}


def last_line(bundle, capsys, monkeypatch, *overlays, **given):
    """What a user reads last when a run does not start."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(RuntimeError) as told:
        bundle.open(*overlays, **given)
    explain_failures()
    sys.excepthook(type(told.value), told.value, None)
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("case", REFUSED)
def test_a_term_without_what_it_needs_is_refused_before_training(bundle, tmp_path, capsys, monkeypatch, taught, case):
    overlays, changed, expected = REFUSED[case]
    given = taught | {"output_dir": str(tmp_path / "run"), "teacher_cache": str(tmp_path / "cache")}
    told = last_line(bundle, capsys, monkeypatch, *overlays, **given, **changed)
    assert re.match(f"The reason: ValueError: {expected}", told)
    assert not (tmp_path / "run").exists()


def test_tokens_that_hold_a_class_token_are_refused_with_the_way_out(bundle, tmp_path, capsys, monkeypatch, data):
    parser = ConfigParser(ConfigParser.load_config_files(bundle.files("cnn_to_vit")))
    torch.save(parser.get_parsed_content("teacher_def").state_dict(), tmp_path / "cnn.pt")
    given = data | {
        "teacher_ckpt": str(tmp_path / "cnn.pt"),
        "teacher_data_unknown": True,
        "output_dir": str(tmp_path / "run"),
    }
    given["backbone_taps"] = [f"network.blocks.{number}" for number in (1, 3, 5, 7)]
    told = last_line(bundle, capsys, monkeypatch, "cnn_to_vit", **given)
    assert "`hcl` wants maps; `network.blocks.1` gives tokens 65 x 96: set prefix_tokens=1" in told
    assert not (tmp_path / "run").exists()


def test_terms_that_compare_channels_are_refused_for_teachers_that_take_turns(
    bundle, tmp_path, capsys, monkeypatch, untaught, members
):
    given = untaught | {"teacher_ckpts": members, "output_dir": str(tmp_path / "run")}
    told = last_line(bundle, capsys, monkeypatch, "crossfit", "terms_fusion", **given)
    assert "`hcl` compares channels; teachers that take turns (cross-fitting)" in told
    assert not (tmp_path / "run").exists()


def test_terms_on_the_tumour_are_refused_where_no_masks_are_loaded(bundle, tmp_path, taught):
    given = taught | {"output_dir": str(tmp_path / "run"), "terms": [{"name": "rings"}], "mask_keys": []}
    workflow = bundle.open("geometry_teacher", **given)
    with pytest.raises(RuntimeError) as told:
        workflow.run()
    assert "`rings`, GeometryTeacher want masks" in str(first_cause(told.value))
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
