"""MONAI's federated client with the bundle: three hospitals, two rounds in one process, averaged by hand."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow, run
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, FlStatistics, ModelType, WeightType
from monai.fl.utils.exchange_object import ExchangeObject

from kdmri_monai.data.datalist import load_split
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.archives import write_figshare
from kdmri_monai.data.phantom.cohort import patient
from kdmri_monai.data.phantom.patients import phantom_patient
from kdmri_monai.data.phantom.scanner import A, B
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.engines import DistillationTrainer
from kdmri_monai.engines.explain import first_cause

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "kd"
TRAIN = ["configs/train.json", "configs/terms_kd.json", "configs/federated.json"]
EVALUATE = ["configs/train.json", "configs/terms_kd.json", "configs/evaluate.json", "configs/federated.json"]
HOSPITALS = {"north": ((A,), 1, 24), "south": ((B,), 2, 30), "west": ((A, B), 3, 24)}
"""Scanners, seed and how many patients are looked at."""
ROUNDS = 2
NARROW = {"_target_": "resnet10", "spatial_dims": 2, "n_input_channels": 1, "num_classes": 3, "conv1_t_stride": 2}
SMALL = {
    "image_size": 48,
    "batch_size": 12,
    "device": "cpu",
    "progress": False,
    "max_epochs": ROUNDS,
    "student_def": {**NARROW, "widen_factor": 0.125},
    "teacher_def": {**NARROW, "widen_factor": 0.25},
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:executing the bundle config under:UserWarning",  # MonaiAlgo's standing warning
        "ignore:Detected call of `lr_scheduler.step:UserWarning",
    ),
]


def write_hospital(folder, scanners, seed, numbers):
    """A dataset folder of the patients of some scanners, as ``kdmri prepare`` makes it."""
    chosen = [number for number in range(numbers) if patient(number).scanner in scanners]
    slices, folds = [], []
    for number in chosen:
        found = list(phantom_patient(number, seed, slices_per_patient=(2, 3), size=64, first=len(slices) + 1))
        slices += found
        folds += [patient(number).fold] * len(found)
    write_figshare(folder / "source", slices, folds, "Synthetic slices.\n")
    options = PrepareOptions(store_size=64, workers=1)
    prepare_dataset(folder / "source", folder / "data", options, SplitOptions(), progress=False)
    return folder / "data"


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory):
    """Folder of every hospital, with its data and with a teacher of its own."""
    home = tmp_path_factory.mktemp("hospitals")
    names = [str(BUNDLE / "configs" / f"{name}.json") for name in ("train", "teacher")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "excepthook", sys.excepthook)
        for name, (scanners, seed, numbers) in HOSPITALS.items():
            data = write_hospital(home / name, scanners, seed, numbers)
            given = {"dataset_dir": str(data), "output_dir": str(home / name / "teacher")}
            run(run_id="training", config_file=names, **SMALL | given | {"max_epochs": 1})
    return home


def client(hospitals, name, folder="federated", **changed):
    """A hospital's client, initialised."""
    home = hospitals / name
    given = SMALL | {
        "dataset_dir": str(home / "data"),
        "teacher_ckpt": str(home / "teacher" / "model.pt"),
        "output_dir": str(home / folder),
    }
    algo = MonaiAlgo(
        str(BUNDLE),
        local_epochs=1,
        send_weight_diff=True,
        config_train_filename=TRAIN,
        train_kwargs=given | changed,
        config_evaluate_filename=EVALUATE,
        eval_kwargs=given | changed,
        best_model_filepath=str(home / folder / "model.pt"),
    )
    algo.initialize({ExtraItems.CLIENT_NAME: name})
    return algo


def averaged(start, differences, slices):
    """FedAvg: the start plus the mean difference, weighted by slices.

    Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017,
        algorithm 1.
    """
    shares = np.array(slices) / sum(slices)
    return {
        name: value + sum(share * one[name] for share, one in zip(shares, differences, strict=True)).to(value.dtype)
        for name, value in start.items()
    }


def weights_of(network):
    """A copy of a network's weights."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def equal(one, other):
    """Whether two state dicts hold the same names and the same numbers."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def one_round(clients, sent, slices):
    """Everybody evaluates and trains what was sent; what came over the wire, what was seen on both sides."""
    told = {"sent": sent, "metrics": [], "started": [], "evaluated": [], "local": [], "answers": []}
    for algo in clients.values():
        weights = ExchangeObject(weights={name: value.clone() for name, value in sent.items()})
        told["metrics"].append(algo.evaluate(weights).metrics)
        told["evaluated"].append(weights_of(algo.evaluator.network))
        looking = algo.trainer.add_event_handler(
            Events.STARTED, lambda engine: told["started"].append(weights_of(engine.network))
        )
        algo.train(weights)
        looking.remove()
        told["local"].append(weights_of(algo.trainer.network))
        told["answers"].append(algo.get_weights())
    told["next"] = averaged(sent, [answer.weights for answer in told["answers"]], slices)
    return told


@pytest.fixture(scope="module")
def federation(hospitals):
    """The clients, and all that went over the wire in two rounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "excepthook", sys.excepthook)
        clients = {name: client(hospitals, name) for name in HOSPITALS}
        slices = [len(load_split(hospitals / name / "data" / "datalist.json", "training")) for name in HOSPITALS]
        sent, rounds = weights_of(clients["north"].trainer.network), []
        for _ in range(ROUNDS):
            rounds.append(one_round(clients, sent, slices))
            sent = rounds[-1]["next"]
    return {"clients": clients, "slices": slices, "rounds": rounds}


def test_the_hospitals_differ(federation, hospitals):
    assert len(set(federation["slices"])) == len(HOSPITALS)
    ids = [entry["patient"] for entry in load_split(hospitals / "south" / "data" / "datalist.json", "training")]
    assert all(name.startswith("MR") for name in ids)  # scanner B alone


def test_the_global_weights_are_the_mean_of_the_clients_by_slices(federation):
    shares = np.array(federation["slices"]) / sum(federation["slices"])
    for told in federation["rounds"]:
        for name, value in told["next"].items():
            if value.is_floating_point():
                mean = sum(share * local[name].double() for share, local in zip(shares, told["local"], strict=True))
                torch.testing.assert_close(value.double(), mean, atol=1e-6, rtol=1e-5)
        assert not any(equal(told["next"], weights) for weights in (told["sent"], *told["local"]))


def test_each_round_starts_and_is_evaluated_from_what_was_sent(federation):
    assert equal(federation["rounds"][1]["sent"], federation["rounds"][0]["next"])
    for told in federation["rounds"]:
        for started, evaluated in zip(told["started"], told["evaluated"], strict=True):
            assert equal(started, told["sent"])
            assert equal(evaluated, told["sent"])


def test_the_bare_student_is_exchanged_and_nothing_of_the_teacher(federation):
    algo = federation["clients"]["north"]
    own = algo.train_workflow.parser.get_parsed_content("network_def")
    assert type(algo.trainer) is DistillationTrainer
    assert algo.trainer.network is algo.train_workflow.parser.get_parsed_content("network")
    assert algo.trainer.teacher is not None
    for told in federation["rounds"]:
        for answer, local in zip(told["answers"], told["local"], strict=True):
            assert answer.weight_type == WeightType.WEIGHT_DIFF
            assert answer.weights.keys() == own.state_dict().keys()
            assert equal(answer.weights, {name: local[name] - told["sent"][name] for name in local})
            assert answer.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS] > 0


def test_the_teacher_of_a_hospital_stays_as_it_was(federation, hospitals):
    for name, algo in federation["clients"].items():
        before = torch.load(hospitals / name / "teacher" / "model.pt", weights_only=True)
        assert equal(algo.trainer.teacher.state_dict(), before)


def test_metrics_come_back_as_plain_floats(federation):
    for told in federation["rounds"]:
        for metrics in told["metrics"]:
            assert metrics.keys() == {"balanced_accuracy", "accuracy", "loss"}
            assert all(type(value) is float for value in metrics.values())


def test_the_schedule_goes_on_over_the_rounds(federation, hospitals):
    rows = [json.loads(line) for line in (hospitals / "north" / "federated" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[0]["lr"] != rows[1]["lr"]
    assert all("kd" in row["training"] for row in rows)


def test_what_is_validated_and_kept_at_home_is_the_student_that_is_exchanged(federation):
    algo = federation["clients"]["west"]
    assert algo.train_workflow.parser.get_parsed_content("average").network is algo.trainer.network
    kept = algo.get_weights({ExtraItems.MODEL_TYPE: ModelType.BEST_MODEL}).weights
    assert any(equal(kept, told["local"][2]) for told in federation["rounds"])


def test_a_running_mean_at_home_would_keep_weights_from_before_the_round(hospitals, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    algo = client(hospitals, "north", "with_mean", ema_momentum=0.005)
    average = algo.train_workflow.parser.get_parsed_content("average")
    sent = {name: torch.zeros_like(value) for name, value in weights_of(algo.trainer.network).items()}
    algo.train(ExchangeObject(weights=sent))
    exchanged, kept = weights_of(algo.trainer.network), weights_of(average.network)
    assert kept["conv1.weight"].norm() > 3 * exchanged["conv1.weight"].norm()  # none of it was ever sent


def test_the_federated_student_is_evaluated_like_any_other(federation, hospitals, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    torch.save(federation["rounds"][-1]["next"], tmp_path / "model.pt")
    data = hospitals / "west" / "data"
    names = [str(BUNDLE / "configs" / f"{name}.json") for name in ("train", "evaluate")]
    given = {"dataset_dir": str(data), "output_dir": str(tmp_path), "bootstrap_replicates": 50}
    run(run_id="evaluating", config_file=names, **SMALL | given)
    metrics = json.loads((tmp_path / "test_metrics.json").read_text())
    assert metrics["slices"]["n"] == len(load_split(data / "datalist.json", "test"))


def test_a_client_that_starts_again_does_not_write_over_its_run(federation, hospitals, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(RuntimeError) as told:
        client(hospitals, "south")
    assert "already holds a run" in str(first_cause(told.value))
    client(hospitals, "south", overwrite=True)
    assert not (hospitals / "south" / "federated" / "checkpoint.pt").exists()


@pytest.mark.parametrize("names", [TRAIN, EVALUATE])
def test_monais_property_check_is_clean(hospitals, tmp_path, monkeypatch, names):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    home = hospitals / "north"
    given = {"dataset_dir": str(home / "data"), "teacher_ckpt": str(home / "teacher" / "model.pt")}
    files = [str(BUNDLE / name) for name in names]
    workflow = ConfigWorkflow(config_file=files, output_dir=str(tmp_path / "run"), **SMALL | given)
    workflow.initialize()
    assert workflow.check_properties() == []
