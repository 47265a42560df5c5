"""Two processes by gloo train as one does, and hold the same weights afterwards, bit by bit."""

import json
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from ignite.metrics import Accuracy, Loss, Recall
from kornia.augmentation import RandomGaussianNoise, RandomHorizontalFlip
from monai.data import DataLoader, Dataset
from monai.engines import IterationEvents, SupervisedEvaluator
from monai.handlers import LrScheduleHandler, ValidationHandler, from_engine
from torch import nn
from torch.utils.data import DistributedSampler, SequentialSampler

from kdmri_monai.engines import (
    AugmentedBatch,
    CurveWriter,
    DistillationTrainer,
    Distiller,
    EpochSeed,
    FitTerms,
    MeanTerms,
    ProcessShare,
    RunCheckpoints,
    StopOnNonFiniteLoss,
    StudentAverage,
    TermGradients,
    ValidationTerms,
    batch_augmentation,
    fit_temperature,
    is_first_process,
    join_processes,
    leave_processes,
    share_of_batch,
)

READ = from_engine(["pred", "label"])
GROUPS = [
    {"name": "kd", "weight": 0.7},
    {"name": "fitnet", "weight": 0.5, "taps": {"student": ["1"], "teacher": ["1"]}},
    {"name": "hcl", "weight": 0.5, "schedule": {"shape": "linear", "epochs": 2.0},
     "arguments": {"fusion": ["abf", {"width": 4, "norm": ["group", {"num_groups": 2}]}]}},
]  # fmt: skip


def network(width, seed, norm="group"):
    torch.manual_seed(seed)
    made = (lambda c: nn.GroupNorm(2, c)) if norm == "group" else nn.BatchNorm2d
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, width, 3, stride=2, padding=1), made(width), nn.ReLU()),
        nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), made(2 * width), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 3)),
    )


def slices(count, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 16, 16, generator=generator) * 0.5
    for place, image in enumerate(images):
        image[0, 4 * (place % 3) : 4 * (place % 3) + 4, 4:8] += 2.0
    return [{"image": image, "label": place % 3, "id": f"{seed}-{place}"} for place, image in enumerate(images)]


def loaders(training, validation, batch_size):
    share = share_of_batch(batch_size)
    drawn = ProcessShare(DistributedSampler(training, 1, 0, shuffle=True, seed=0), batch_size)
    held_out = ProcessShare(SequentialSampler(validation))
    return DataLoader(training, batch_size=share, sampler=drawn), DataLoader(
        validation, batch_size=share, sampler=held_out
    )


class Study:
    """A run with everything that a bundle has, on this process's share of the data."""

    def __init__(
        self, folder=None, *, norm="group", terms=GROUPS, epochs=2, resume=False, steps=(), samples=37, **given
    ):
        training, validation = Dataset(slices(samples, 1)), Dataset(slices(19, 2))
        loader, held_out = loaders(training, validation, 8)
        self.student, teacher = network(4, 0, norm), network(6, 99, norm)
        self.average = StudentAverage(self.student, 0.1)
        self.distiller = Distiller(self.student, teacher, terms, ["0", "1"], ["0", "1"], (1, 16, 16)) if terms else None
        learned = [*self.student.parameters(), *(self.distiller.parameters() if terms else ())]
        optimizer = torch.optim.SGD(learned, 0.05, momentum=0.9, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.8)
        evaluator = SupervisedEvaluator(
            device="cpu",
            val_data_loader=held_out,
            network=self.average.network,
            key_val_metric={"balanced_accuracy": Recall(average="macro", output_transform=READ)},
            additional_metrics={"loss": Loss(nn.CrossEntropyLoss(), output_transform=READ)},
            decollate=False,
        )
        handlers = [self.average, EpochSeed(0), StopOnNonFiniteLoss(), ValidationHandler(1, evaluator)]
        handlers.append(TermGradients(self.student, every=3))
        self.checkpoints = None
        if folder is not None:
            measured = None
            if terms:
                measured = ValidationTerms(held_out, self.student, self.distiller, torch.device("cpu"))
            handlers.append(CurveWriter(folder, optimizer, evaluator, measured))
        handlers.append(LrScheduleHandler(schedule, print_lr=False))
        if folder is not None:
            states = {"optimizer": optimizer, "lr_scheduler": schedule, "distiller": self.distiller}
            states["student"] = self.average.student
            self.checkpoints = RunCheckpoints(
                folder, self.average.network, states, evaluator, lambda m: (m["balanced_accuracy"], -m["loss"]), resume
            )
            handlers.append(self.checkpoints)
        if terms:
            handlers.append(FitTerms(DataLoader(training, batch_size=8), self.distiller, torch.device("cpu")))
        self.trainer = DistillationTrainer(
            device="cpu",
            max_epochs=epochs,
            train_data_loader=loader,
            network=self.student,
            teacher=teacher if terms else None,
            distiller=self.distiller,
            optimizer=optimizer,
            loss_function=nn.CrossEntropyLoss(),
            prepare_batch=AugmentedBatch(batch_augmentation(list(steps)) if steps else None),
            key_train_metric={"accuracy": Accuracy(output_transform=READ)},
            additional_metrics={"terms": MeanTerms()},
            train_handlers=handlers,
            max_grad_norm=0.5,
            **given,
        )
        self.seen = []
        self.trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: self.seen.append(list(engine.state.batch["id"]))
        )

    def state(self):
        modules = {"student": self.student, "average": self.average.network, "distiller": self.distiller}
        return {
            f"{name}.{key}": value.clone()
            for name, module in modules.items()
            if module is not None
            for key, value in module.state_dict().items()
        }


def trained(folder, given):
    """What one process has after training; only the first one may write, so every one has a folder of its own."""
    join_processes("cpu")
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else "alone"
    study = Study(Path(folder) / str(rank), **given)
    study.trainer.run()
    return {"state": study.state(), "seen": study.seen, "norms": study.trainer.state.gradient_norms,
            "best": study.checkpoints.best}  # fmt: skip


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same(one, other, tolerance=0.0):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_processes_equal_one_of_the_same_batch(two_processes, tmp_path, accumulation):
    given = {"accumulation_steps": accumulation}  # 37 slices in batches of 8: the last has 5, three and two
    alone = trained(tmp_path, given)
    both = two_processes(trained, str(tmp_path), given)
    assert_same(both[0]["state"], both[1]["state"])
    assert_same(alone["state"], both[0]["state"], 1e-5)
    for name, value in network(4, 0).state_dict().items():
        assert (alone["state"][f"student.{name}"] - value).abs().max() > 1e-3
    for step, expected in enumerate(alone["seen"]):
        assert sorted(both[0]["seen"][step] + both[1]["seen"][step]) == sorted(expected)
    for norm in ("task", "kd", "fitnet", "hcl"):
        assert both[0]["norms"][norm] == both[1]["norms"][norm] == pytest.approx(alone["norms"][norm], rel=1e-4)
    for one, two in zip(rows(tmp_path / "alone"), rows(tmp_path / "0"), strict=True):
        for part in ("training", "validation", "weighted"):
            assert two[part] == pytest.approx(one[part], rel=1e-5, abs=1e-6)
    assert both[0]["best"] == both[1]["best"]
    assert both[0]["best"]["epoch"] == alone["best"]["epoch"]


def test_the_first_process_alone_writes(two_processes, tmp_path):
    two_processes(trained, str(tmp_path), {})
    assert {"model.pt", "checkpoint.pt", "metrics.jsonl", "tensorboard"} == {f.name for f in (tmp_path / "0").iterdir()}
    assert not (tmp_path / "1").exists()


def all_of_it(_):
    """A run where processes differ as much as they can: first weights, shares, views, batch statistics."""
    join_processes("cpu")
    at = {"taps": {"student": ["1"], "teacher": ["1"]}}
    terms = [GROUPS[0], {"name": "vkd", "weight": 0.3, **at}, {"name": "lelp", "weight": 0.3, **at}]
    study = Study(norm="batch", terms=terms, steps=(RandomHorizontalFlip(p=0.5), RandomGaussianNoise(std=0.3, p=1.0)))
    if not is_first_process():
        for module in (study.student, study.average.network, study.distiller):
            for value in (*module.parameters(), *module.buffers()):
                value.detach().copy_(torch.ones_like(value))
    seeds = []
    study.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: seeds.append(torch.initial_seed()))
    study.trainer.run()
    return study.state(), seeds


def test_weights_statistics_average_and_fitted_terms_are_the_same_everywhere(two_processes):
    (one, seeds), (other, others) = two_processes(all_of_it, None)
    assert_same(one, other)
    assert any("running_var" in name for name in one)
    assert one["distiller.terms.lelp.term.fitted"]
    assert len({*seeds, *others}) == 4


def resumed(folder):
    join_processes("cpu")
    straight = Study(f"{folder}/straight", norm="batch", epochs=4)
    straight.trainer.run()
    Study(f"{folder}/parts", norm="batch", epochs=2).trainer.run()
    again = Study(f"{folder}/parts", norm="batch", epochs=4, resume=True)
    again.trainer.run()
    return straight.state(), again.state(), again.trainer.state.iteration


def test_a_resumed_run_equals_an_uninterrupted_one(two_processes, tmp_path):
    for straight, again, iteration in two_processes(resumed, str(tmp_path)):
        assert iteration == 20
        assert_same(straight, again)


def resumed_from_two_disks(folder):
    join_processes("cpu")
    here = f"{folder}/{torch.distributed.get_rank()}"
    Study(here, epochs=1).trainer.run()
    Study(here, epochs=2, resume=True).trainer.run()


def test_a_checkpoint_that_one_process_cannot_see_is_refused(two_processes, tmp_path):
    for error in two_processes(resumed_from_two_disks, str(tmp_path), failing=True):
        assert error.startswith("ValueError: ")
        assert "is seen by some processes only" in error


def spoilt(_):
    join_processes("cpu")
    study = Study()
    study.trainer.add_event_handler(
        Events.ITERATION_STARTED(once=4),
        lambda engine: None if is_first_process() else engine.state.batch["image"][0].fill_(float("nan")),
    )
    study.trainer.run()


def test_a_loss_that_is_not_finite_in_one_process_stops_all(two_processes):
    first, second = two_processes(spoilt, None, failing=True)
    assert first.startswith("NonFiniteLossError: the loss of another process became NaN or infinite in epoch 1, it")
    assert second.startswith("NonFiniteLossError: the loss became nan in epoch 1, iteration 4 (task nan")


def scaled(_):
    """Two steps with a gradient scaler: in the first one gradient of the second process overflows."""
    join_processes("cpu")
    study, told = Study(terms=None, epochs=1, samples=16), []
    scaler = study.trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)

    def overflow(engine):
        if engine.state.iteration == 1 and not is_first_process():
            study.student[0][0].weight.grad[0] = float("inf")

    study.trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, overflow)
    study.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda _: told.append((scaler.get_scale(), study.state()))
    )
    before = study.state()
    study.trainer.run()
    return before, told


def test_what_overflows_in_one_process_is_left_out_by_all(two_processes):
    both = two_processes(scaled, None)
    for before, [(scale, after_one), (later, after_two)] in both:
        assert scale == later == 2.0**9
        assert_same(before, after_one)
        assert not torch.equal(before["student.0.0.weight"], after_two["student.0.0.weight"])
    assert_same(both[0][1][1][1], both[1][1][1][1])


def calibrated(_):
    join_processes("cpu")
    batches = loaders(Dataset(slices(16, 1)), Dataset(slices(19, 2)), 8)[1]
    found = fit_temperature(network(4, 5), batches, "cpu")
    leave_processes()
    whole = DataLoader(Dataset(slices(19, 2)), batch_size=8)
    return len(batches.sampler), found, fit_temperature(network(4, 5), whole, "cpu")


def test_a_temperature_is_that_of_all_patients(two_processes):
    both = two_processes(calibrated, None)
    assert [samples for samples, _, _ in both] == [9, 10]
    for _, shared, whole in both:
        assert shared == pytest.approx(whole, rel=1e-4)
