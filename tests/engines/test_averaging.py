"""The averaged student: Ignite's mean, what is validated and saved, and off by one switch."""

import copy
import json

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Accuracy, Loss
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler, from_engine
from torch import nn

from kdmri_monai.engines import RunCheckpoints
from kdmri_monai.engines.averaging import StudentAverage, momentum_at


def moving_average(history, momentum):
    """theta <- (1 - m) theta + m theta_t from the first state on, m no smaller than 1 - (1 + t) / (10 + t)."""
    mean = history[0]
    for step, state in enumerate(history[1:], start=1):
        share = 1 - min(1 - momentum, (1 + step) / (10 + step))
        mean = (1 - share) * mean + share * state
    return mean


def floats(network):
    """All weights and running statistics, one after the other."""
    parts = [value.flatten() for value in network.state_dict().values() if value.is_floating_point()]
    return torch.cat(parts).double().numpy()


def held_out():
    generator = torch.Generator().manual_seed(8)
    images = torch.randn(18, 1, 16, 16, generator=generator)
    return DataLoader(Dataset([{"image": image, "label": i % 3} for i, image in enumerate(images)]), batch_size=6)


def averaged_run(study, folder, momentum, epochs=4, resume=False):
    """A small run whose average is validated and saved, wired as in the bundle."""
    run = study(epochs=epochs)
    average = StudentAverage(run.student, momentum)
    read = from_engine(["pred", "label"])
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=held_out(),
        network=average.network,
        key_val_metric={"accuracy": Accuracy(output_transform=read)},
        additional_metrics={"loss": Loss(nn.CrossEntropyLoss(), output_transform=read)},
        decollate=False,
    )
    states = {"optimizer": run.extra["optimizer"], "distiller": run.distiller, "student": average.student}
    checkpoints = RunCheckpoints(
        folder, average.network, states, evaluator, lambda metrics: -metrics["loss"], resume=resume
    )
    for handler in (average, ValidationHandler(1, evaluator), checkpoints):
        handler.attach(run.trainer)
    return run, average, evaluator


@pytest.mark.parametrize("momentum", [0.02, 0.3])
def test_the_average_is_the_moving_mean_of_weights_and_running_statistics(study, tmp_path, momentum):
    run, average, _ = averaged_run(study, tmp_path, momentum)
    history = [floats(run.student)]
    run.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: history.append(floats(run.student)))
    run.trainer.run()
    assert len(history) == 21
    np.testing.assert_allclose(floats(average.network), moving_average(history, momentum), rtol=1e-4, atol=1e-6)
    assert np.abs(floats(average.network) - floats(run.student)).max() > 1e-3


def test_momentum_falls_to_its_value_in_the_long_run():
    values = [momentum_at(iteration, 0.01) for iteration in range(1, 2000)]
    assert values[0] == pytest.approx(9 / 11)
    assert values == sorted(values, reverse=True)
    assert values[888] > values[889] == values[-1] == 0.01


def test_the_average_is_what_is_validated_and_saved(study, tmp_path):
    run, average, evaluator = averaged_run(study, tmp_path, 0.1, epochs=1)
    run.trainer.run()
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    assert saved.keys() == run.student.state_dict().keys()
    assert all(torch.equal(saved[name], value) for name, value in average.network.state_dict().items())
    plain = copy.deepcopy(run.student)
    plain.load_state_dict(saved)
    with torch.no_grad():
        batches = [(plain.eval()(batch["image"]), batch["label"]) for batch in held_out()]
    loss = nn.CrossEntropyLoss()(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    assert evaluator.state.metrics["loss"] == pytest.approx(loss.item(), rel=1e-4)


def test_training_is_that_of_a_run_without_average(study, tmp_path):
    with_average, average, _ = averaged_run(study, tmp_path / "a", 0.05, epochs=2)
    with_average.trainer.run()
    without, _, _ = averaged_run(study, tmp_path / "b", None, epochs=2)
    without.trainer.run()
    np.testing.assert_array_equal(floats(with_average.student), floats(without.student))
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert all(parameter.requires_grad for parameter in with_average.student.parameters())


@pytest.mark.parametrize("iteration", [7, 10])
def test_a_resumed_run_equals_an_uninterrupted_one(study, tmp_path, iteration):
    straight, mean, _ = averaged_run(study, tmp_path / "straight", 0.1)
    straight.trainer.run()
    first, _, _ = averaged_run(study, tmp_path / "broken", 0.1)

    @first.trainer.on(Events.ITERATION_COMPLETED(once=iteration))
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.trainer.run()
    second, again, _ = averaged_run(study, tmp_path / "broken", 0.1, resume=True)
    second.trainer.run()
    np.testing.assert_array_equal(floats(straight.student), floats(second.student))
    np.testing.assert_array_equal(floats(mean.network), floats(again.network))
    best = [torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("straight", "broken")]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])


def test_without_momentum_it_is_off(study, tmp_path):
    run, average, _ = averaged_run(study, tmp_path, None, epochs=1)
    assert average.network is run.student
    assert average.student is None
    run.trainer.run()
    assert not hasattr(run.trainer.state, "ema_momentum")
    assert "student" not in torch.load(tmp_path / "checkpoint.pt", weights_only=True)["states"]


def test_a_checkpoint_without_an_average_is_not_continued_with_one(study, tmp_path):
    averaged_run(study, tmp_path, None, epochs=1)[0].trainer.run()
    with pytest.raises(ValueError, match=r"written by another configuration and cannot be continued: 'student'"):
        averaged_run(study, tmp_path, 0.1, epochs=2, resume=True)[0].trainer.run()


@pytest.mark.parametrize("momentum", [0, 1, 2.0, -0.1])
def test_impossible_momenta_are_refused(momentum):
    with pytest.raises(ValueError, match=rf"momentum is {json.dumps(momentum)}, allowed are values between 0 and 1"):
        StudentAverage(nn.Linear(2, 2), momentum)


def test_it_works_on_any_ignite_engine():
    network = nn.Linear(2, 1)
    average = StudentAverage(network, 0.5)

    def step(_engine, batch):
        with torch.no_grad():
            network.weight.fill_(batch)

    engine = Engine(step)
    average.attach(engine)
    engine.run([1.0, 1.0, 1.0], max_epochs=10)
    torch.testing.assert_close(average.network.weight, torch.ones(1, 2))
