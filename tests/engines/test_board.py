"""TensorBoard has, beside the curves, what compares runs and what the student says of slices."""

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from kdmri_monai.engines import CurveWriter
from kdmri_monai.engines.hyper_parameters import COMPARED


@pytest.fixture
def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def trained(writer, epochs):
    trainer = Engine(lambda engine, batch: None)
    writer.attach(trainer)
    trainer.run([0], max_epochs=epochs)


def board_of(folder):
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return board


def test_settings_are_written_for_the_comparison_of_runs(tmp_path, optimizer):
    settings = {"seed": 3, "learning_rate": 0.5, "amp": True, "network": "ResNet", "teacher_ckpt": None}
    trained(CurveWriter(tmp_path, optimizer, settings=settings), 1)
    plugin = board_of(tmp_path).summary_metadata
    parts = {
        tag: plugin_data_pb2.HParamsPluginData.FromString(meta.plugin_data.content)
        for tag, meta in plugin.items()
        if meta.plugin_data.plugin_name == metadata.PLUGIN_NAME
    }
    given = parts[metadata.SESSION_START_INFO_TAG].session_start_info.hparams
    assert given["seed"].number_value == 3
    assert given["learning_rate"].number_value == 0.5
    assert given["amp"].number_value == 1  # torch counts truth values as numbers
    assert given["network"].string_value == "ResNet"
    assert given["teacher_ckpt"].string_value == "None"
    metrics = parts[metadata.EXPERIMENT_TAG].experiment.metric_infos
    assert {metric.name.tag for metric in metrics} == set(COMPARED)


def test_a_resumed_run_states_its_settings_once(tmp_path, optimizer):
    trained(CurveWriter(tmp_path, optimizer, settings={"seed": 3}), 1)
    writer = CurveWriter(tmp_path, optimizer, settings={"seed": 3})
    trainer = Engine(lambda engine, batch: None)
    writer.attach(trainer)
    trainer.state.epoch, trainer.state.max_epochs, trainer.state.epoch_length = 1, 2, 1
    trainer.run([0], max_epochs=2)
    assert [event.step for event in board_of(tmp_path).Scalars("lr")] == [1, 2]
    files = sorted((tmp_path / "tensorboard").iterdir())
    assert [b"seed" in file.read_bytes() for file in files] == [True, False]


def test_pictures_are_shown_after_the_epochs_that_have_one(tmp_path, optimizer):
    picture = np.zeros((8, 6, 3), dtype=np.uint8)
    picture[1, 4] = (255, 0, 0)
    trained(CurveWriter(tmp_path, optimizer, pictures=lambda epoch: picture if epoch == 2 else None), 3)
    shown = board_of(tmp_path).Images("predictions/validation")
    assert [(event.step, event.height, event.width) for event in shown] == [(2, 8, 6)]


def test_without_settings_and_pictures_nothing_but_curves_is_written(tmp_path, optimizer):
    trained(CurveWriter(tmp_path, optimizer), 1)
    assert board_of(tmp_path).Tags()["images"] == []
    assert not any(meta.plugin_data.plugin_name == "hparams" for meta in board_of(tmp_path).summary_metadata.values())
