"""Weights from elsewhere as the teacher of the bundle: from the configuration to the record and the comparison."""

import io
import json
import re
from pathlib import Path

import pytest
import torch
from monai.networks.nets import resnet18
from rich.console import Console

from kdmri_monai.engines.explain import first_cause
from kdmri_monai.evaluation.comparison import compare_runs
from kdmri_monai.report.tables import comparison_table

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sharing.md"
WRITTEN = json.loads(re.search(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1])


@pytest.fixture
def overlay(tmp_path):
    """The configuration that docs/sharing.md shows, and colour weights for a thousand classes to which it fits."""
    path = tmp_path / "web" / WRITTEN["teacher_ckpt"]
    path.parent.mkdir()
    torch.manual_seed(3)
    given = {name: value for name, value in WRITTEN["teacher_def"].items() if name not in ("_target_", "num_classes")}
    state = resnet18(**given | {"n_input_channels": 3}, num_classes=1000).state_dict()
    named = {f"module.encoder.{name}": value for name, value in state.items()}
    torch.save({"epoch": 90, "state_dict": named | {"module.projection.weight": torch.zeros(8, 512)}}, path)
    return WRITTEN | {"teacher_ckpt": str(path)}


def test_published_weights_teach_and_every_table_says_what_is_not_known(bundle, dataset, overlay, tmp_path):
    given = overlay | {"dataset_dir": str(dataset), "output_dir": str(tmp_path / "taught")}
    with pytest.raises(RuntimeError) as told:
        bundle.open(**given | {"teacher_data_unknown": False})
    assert "--teacher_data_unknown true" in str(first_cause(told.value))
    trained = bundle.train(**given)
    published = torch.load(overlay["teacher_ckpt"], weights_only=True)["state_dict"]["module.encoder.conv1.weight"]
    torch.testing.assert_close(bundle.part(trained, "teacher").conv1.weight, published.sum(1, keepdim=True))
    (facts,) = bundle.settings(tmp_path / "taught")["teacher_facts"]
    assert facts["training_data"] == "unknown"
    assert facts["imported"]["left_out"] == ["fc.weight", "fc.bias"]
    assert bundle.curves(tmp_path / "taught")[0]["training"].keys() >= {"token_gram"}
    alone = {"dataset_dir": str(dataset), "output_dir": str(tmp_path / "baseline")}
    bundle.train("baseline", **alone)
    assert bundle.settings(tmp_path / "baseline")["teacher_facts"] is None
    bundle.evaluate("evaluate", **given, bootstrap_replicates=50)
    bundle.evaluate("baseline", "evaluate", **alone, bootstrap_replicates=50)
    comparison = compare_runs([tmp_path / "baseline", tmp_path / "taught"])
    assert [row.unsure for row in comparison.rows] == ["", "its teacher's training data are unknown"]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(comparison_table(comparison))
    assert "taught may be too good: its teacher's training data are unknown" in " ".join(console.export_text().split())
