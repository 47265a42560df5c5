import json
import math

import numpy as np
import pytest
from sklearn import metrics as sk

from kdmri_monai.evaluation.metrics_file import evaluate_predictions, id_source, write_metrics
from kdmri_monai.evaluation.predictions import Predictions, by_patient
from kdmri_monai.evaluation.summary import summarise


def leaves(tree):
    for value in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(value, (dict, list)):
            yield from leaves(value)
        else:
            yield value


def reference(table):
    prediction = table.probabilities.argmax(axis=1)
    return {
        "accuracy": sk.accuracy_score(table.label, prediction),
        "balanced_accuracy": sk.balanced_accuracy_score(table.label, prediction),
        "macro_f1": sk.f1_score(table.label, prediction, average="macro"),
        "mcc": sk.matthews_corrcoef(table.label, prediction),
        "macro_auroc": sk.roc_auc_score(table.label, table.probabilities, multi_class="ovr"),
        "nll": sk.log_loss(table.label, table.probabilities),
    }


def test_both_levels_equal_scikit_learn(predictions):
    metrics = evaluate_predictions(predictions, replicates=50)
    for level, table in (("slices", predictions), ("patients", by_patient(predictions))):
        for name, value in reference(table).items():
            assert metrics[level][name]["value"] == pytest.approx(value), (level, name)
        assert metrics[level]["n"] == len(table)
        assert metrics[level]["families"] == 39
        prediction = table.probabilities.argmax(axis=1)
        assert metrics[level]["confusion_matrix"] == sk.confusion_matrix(table.label, prediction).tolist()
        glioma = metrics[level]["per_class"]["glioma"]
        assert glioma["n"] == (table.label == 1).sum()
        assert glioma["sensitivity"]["value"] == pytest.approx(np.mean(prediction[table.label == 1] == 1))
        expected = sk.average_precision_score(table.label == 1, table.probabilities[:, 1])
        assert glioma["auprc"]["value"] == pytest.approx(expected)


def test_every_metric_lies_in_its_interval(predictions):
    slices = evaluate_predictions(predictions)["slices"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "macro_auroc", "nll", "brier"):
        assert slices[name]["low"] < slices[name]["value"] < slices[name]["high"], name


def test_the_summary_is_the_evaluation_without_intervals(predictions):
    summary, slices = summarise(predictions), evaluate_predictions(predictions, replicates=2)["slices"]
    for name, value in summary.items():
        if name == "per_class":
            for of_class, row in value.items():
                values = {
                    metric: cell if metric == "n" else cell["value"]
                    for metric, cell in slices["per_class"][of_class].items()
                }
                assert row == pytest.approx(values)
        elif name in ("n", "confusion_matrix"):
            assert value == slices[name]
        else:
            assert value == pytest.approx(slices[name]["value"])
    assert all(type(value) in (int, float) for value in leaves(summary))


def test_glioma_recall_is_told_apart_by_the_source_of_the_id(predictions):
    shortcut = np.where(np.char.startswith(predictions.patient, "MR"), 1, predictions.prediction)
    shortcut = np.where(~np.char.startswith(predictions.patient, "MR") & (predictions.label == 1), 0, shortcut)
    probabilities = np.eye(3)[shortcut] * 0.8 + 0.2 / 3
    table = Predictions(predictions.id, predictions.patient, predictions.family, predictions.label, probabilities)
    recall = evaluate_predictions(table, replicates=50)["slices"]["strata"]["glioma_recall_by_id"]
    assert {name: row["value"] for name, row in recall.items()} == {"MR": 1.0, "numeric": 0.0}
    assert sum(row["n"] for row in recall.values()) == (table.label == 1).sum()
    assert sum(row["families"] for row in recall.values()) == 15


@pytest.mark.parametrize(
    ("patient", "source"), [("MR024780B", "MR"), ("100360", "numeric"), ("P_7", "P"), ("_7", "numeric")]
)
def test_the_source_of_an_id_is_its_leading_letters(patient, source):
    assert id_source(patient) == source


def test_a_class_without_slices_is_null_in_the_file(predictions, tmp_path):
    table = predictions.take(predictions.label != 1)
    metrics = evaluate_predictions(table, replicates=20)
    assert math.isnan(metrics["slices"]["per_class"]["glioma"]["auroc"]["value"])
    write_metrics(metrics, tmp_path / "metrics.json", {"datalist": "datalist.json"})
    read = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert read["slices"]["per_class"]["glioma"]["n"] == 0
    assert read["slices"]["per_class"]["glioma"]["auroc"] == {"value": None, "low": None, "high": None}
    assert read["slices"]["strata"] == {"glioma_recall_by_id": {}}
    assert read["slices"]["ece"]["low"] is None
    assert read["provenance"] == {"datalist": "datalist.json"}
    assert read["slices"]["accuracy"] == metrics["slices"]["accuracy"]


def test_an_infinite_number_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        write_metrics({"loss": math.inf}, tmp_path / "metrics.json")
    assert list(tmp_path.iterdir()) == []


def test_other_classes_have_no_glioma_recall():
    table = Predictions(["1", "2"], ["P", "Q"], ["P", "Q"], [0, 1], [[0.9, 0.1], [0.2, 0.8]], ("low", "high"))
    metrics = evaluate_predictions(table, replicates=5)
    assert metrics["slices"]["strata"] == {}
    assert metrics["classes"] == ["low", "high"]
