import json
import os
import socket

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from scipy.special import softmax

from kdmri_monai.evaluation.errors import PredictionError
from kdmri_monai.evaluation.handler import PredictionSaver
from kdmri_monai.evaluation.predictions_file import read_predictions

SLICES = 11


class FirstPixels(torch.nn.Module):
    """The logits of an image are its first three pixels, in the precision asked for."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.dtype = dtype

    def forward(self, image):
        return image.flatten(1)[:, :3].to(self.dtype)


def slices(count=SLICES):
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": MetaTensor(torch.randn(1, 2, 2, generator=generator)),
            "label": number % 3,
            "id": str(100 + number),
            "patient": f"MR{number // 2:02d}A",
            "family": f"MR{number // 2:02d}",
        }
        for number in range(count)
    ]


def consistent(rows):
    """Two slices a patient, one label a patient."""
    return [row | {"label": (number // 2) % 3} for number, row in enumerate(rows)]


def as_lists(rows):
    """A batch whose labels are a list of whole numbers."""
    batch = {key: [row[key] for row in rows] for key in rows[0]}
    return batch | {"image": torch.stack(batch["image"])}


def image_only(batch, *_, **__):
    return batch["image"], None


def evaluator(rows, saver, network=None, device="cpu", **arguments):
    return SupervisedEvaluator(
        device=torch.device(device),
        val_data_loader=arguments.pop("val_data_loader", DataLoader(Dataset(rows), batch_size=4)),
        network=(network or FirstPixels()).to(device),
        val_handlers=[saver],
        decollate=False,
        **arguments,
    )


@pytest.fixture
def paths(tmp_path):
    return tmp_path / "test_predictions.csv", tmp_path / "test_metrics.json"


def test_an_evaluation_leaves_predictions_and_metrics(paths):
    rows = consistent(slices())
    evaluator(rows, PredictionSaver(*paths, replicates=20, provenance={"split": "test"})).run()
    table = read_predictions(paths[0])
    for column in ("id", "patient", "family"):
        assert getattr(table, column).tolist() == [row[column] for row in rows]
    assert table.label.tolist() == [row["label"] for row in rows]
    logits = np.stack([row["image"].numpy().ravel()[:3] for row in rows]).astype(np.float64)
    np.testing.assert_allclose(table.probabilities, softmax(logits, axis=1), rtol=1e-12)
    metrics = json.loads(paths[1].read_text())
    assert metrics["slices"]["n"] == SLICES
    assert metrics["patients"]["n"] == 6
    assert metrics["slices"]["accuracy"]["value"] == pytest.approx(np.mean(logits.argmax(1) == table.label))
    assert metrics["provenance"] == {"split": "test"}
    assert {path.name for path in paths[0].parent.iterdir()} == {path.name for path in paths}


def test_nothing_is_put_into_the_state_of_the_engine(paths):
    engine = evaluator(consistent(slices()), PredictionSaver(*paths, replicates=2))
    engine.run()
    assert engine.state.metrics == {}


def test_a_second_run_starts_afresh(paths):
    engine = evaluator(consistent(slices()), PredictionSaver(paths[0]))
    engine.run()
    first = paths[0].read_bytes()
    engine.run()
    assert paths[0].read_bytes() == first
    assert not paths[1].exists()


def test_half_precision_is_widened_before_the_softmax(paths):
    rows = consistent(slices())
    evaluator(rows, PredictionSaver(paths[0]), FirstPixels(torch.bfloat16)).run()
    logits = torch.stack([row["image"].as_tensor().flatten()[:3] for row in rows]).bfloat16().double().numpy()
    np.testing.assert_allclose(read_predictions(paths[0]).probabilities, softmax(logits, axis=1), rtol=1e-12)


def test_labels_may_be_a_column_or_a_list(paths):
    rows = consistent(slices())
    column = [row | {"label": torch.tensor([row["label"]])} for row in rows]
    evaluator(column, PredictionSaver(paths[0])).run()
    assert read_predictions(paths[0]).label.tolist() == [row["label"] for row in rows]
    loader = DataLoader(Dataset(rows), batch_size=4, collate_fn=as_lists)
    evaluator(rows, PredictionSaver(paths[0]), val_data_loader=loader, prepare_batch=image_only).run()
    assert read_predictions(paths[0]).label.tolist() == [row["label"] for row in rows]


def test_decollated_batches_are_refused(paths):
    engine = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(slices()), batch_size=4),
        network=FirstPixels(),
        val_handlers=[PredictionSaver(*paths)],
    )
    with pytest.raises(ValueError, match="decollate=False"):
        engine.run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: {k: v for k, v in row.items() if k != "family"}, "needs family in every batch, got image"),
        (lambda row: row | {"label": torch.tensor([0, 1])}, "do not match the 4 rows of logits"),
        (lambda row: row | {"label": 3}, "row 1: column label: is 3, allowed are 0..2"),
        (lambda row: row | {"id": "1"}, "row 2: column id: '1' already stands in row 1"),
        (lambda row: row | {"image": row["image"] * torch.nan}, "row 1: column p_meningioma: nan"),
    ],
)
def test_a_batch_of_another_form_is_refused_and_nothing_is_written(paths, change, message):
    with pytest.raises(ValueError, match=message):
        evaluator([change(row) for row in slices()], PredictionSaver(*paths)).run()
    assert list(paths[0].parent.iterdir()) == []


def test_logits_of_another_number_of_classes_are_refused(paths):
    with pytest.raises(ValueError, match=r"logits have shape \(4, 3\), expected \(B, 2\)"):
        evaluator(slices(), PredictionSaver(*paths, classes=("low", "high"))).run()


def test_a_patient_with_two_labels_has_predictions_and_no_metrics(paths):
    with pytest.raises(PredictionError, match="patient 'MR00A' has both 0 and 1"):
        evaluator(slices(), PredictionSaver(*paths)).run()
    assert len(read_predictions(paths[0])) == SLICES
    assert not paths[1].exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_is_not_waited_for_while_batches_are_collected(paths):
    class Watched(PredictionSaver):
        def collect(self, engine):
            torch.cuda.set_sync_debug_mode("error")
            try:
                super().collect(engine)
            finally:
                torch.cuda.set_sync_debug_mode("default")

    evaluator(consistent(slices()), Watched(*paths, replicates=20), device="cuda").run()
    assert len(read_predictions(paths[0])) == SLICES


def _one_of_two(rank, port, folder):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    mine = consistent(slices())
    mine = (mine + mine[:1])[rank::2]  # as a sampler fills up the last batch: slice 100 comes twice
    saver = PredictionSaver(f"{folder}/test_predictions.csv", f"{folder}/test_metrics.json", replicates=20)
    evaluator(mine, saver).run()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_write_one_table_without_repeats(paths):
    alone = paths[0].with_name("alone.csv")
    evaluator(consistent(slices()), PredictionSaver(alone)).run()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_one_of_two, (port, str(paths[0].parent)), nprocs=2)
    one, two = read_predictions(alone), read_predictions(paths[0])
    two = two.take(np.argsort(two.id))
    assert two.id.tolist() == one.id.tolist()
    np.testing.assert_array_equal(two.probabilities, one.probabilities)
    assert two.family.tolist() == one.family.tolist()
