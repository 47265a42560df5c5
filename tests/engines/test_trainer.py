"""DistillationTrainer: the teacher untouched, the sum right, mixed precision on the CPU, equal to MONAI without a
teacher."""

import copy
import shutil

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import IterationEvents, SupervisedTrainer
from torch import nn

from kdmri_monai.engines import DistillationEvents, DistillationTrainer, Distiller, NonFiniteLossError
from kdmri_monai.losses import DistillationTerm, SoftTargets, WeightedTerm


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_teacher_is_untouched_by_training(study):
    run = study()
    before = copy.deepcopy(run.teacher.state_dict())
    modes = []
    run.teacher.register_forward_hook(lambda module, *_: modes.append(any(m.training for m in module.modules())))
    run.teacher.train()  # what a careless handler might do
    run.trainer.run()
    assert modes
    assert not any(modes)
    assert equal(run.teacher.state_dict(), before)
    assert all(p.grad is None for p in run.teacher.parameters())


def test_student_and_distiller_learn_and_the_student_holds_nothing_else(study):
    run = study()
    before = copy.deepcopy(run.student.state_dict()), copy.deepcopy(run.distiller.state_dict())
    run.trainer.run()
    assert not any(torch.equal(p, before[0][name]) for name, p in run.student.named_parameters())
    assert all("terms.hcl.term.fusion" in name for name, _ in run.distiller.named_parameters())
    assert not equal(run.distiller.state_dict(), before[1])
    assert len(run.student.state_dict()) == len(before[0])


def test_same_seed_gives_same_weights_and_another_seed_others(study):
    runs = [study(seed=seed) for seed in (3, 3, 4)]
    for run in runs:
        run.trainer.run()
    states = [run.student.state_dict() for run in runs]
    assert equal(states[0], states[1])
    assert not equal(states[0], states[2])


def test_teacher_and_student_see_the_same_view(study):
    seen = {"teacher": [], "student": []}
    run = study(epochs=1)
    run.teacher.register_forward_pre_hook(lambda _, inputs: seen["teacher"].append(inputs[0].clone()))
    run.student.register_forward_pre_hook(
        lambda module, inputs: seen["student"].append(inputs[0].clone()) if module.training else None
    )
    run.trainer.run()
    assert len(seen["student"]) == 5
    assert all(torch.equal(t, s) for t, s in zip(seen["teacher"], seen["student"], strict=True))


def test_loss_is_the_task_plus_the_weighted_terms(study):
    rows = []
    run = study()
    run.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: rows.append(engine.state.output))
    run.trainer.run()
    for place, row in enumerate(rows):
        ramp = min(place / 5 / 2, 1.0)  # five batches an epoch, a ramp over two epochs
        expected = row["terms"]["task"] + 0.7 * row["terms"]["kd"] + 0.5 * ramp * row["terms"]["hcl"]
        torch.testing.assert_close(row["loss"].detach(), expected)
        torch.testing.assert_close(row["weighted_terms"]["hcl"], 0.5 * ramp * row["terms"]["hcl"])
        assert row["pred"].dtype == row["teacher_pred"].dtype == torch.float32


def test_events_come_in_order(study):
    order = []
    run = study(epochs=1)
    events = [
        DistillationEvents.TEACHER_FORWARD_COMPLETED,
        IterationEvents.FORWARD_COMPLETED,
        DistillationEvents.DISTILLATION_LOSS_COMPLETED,
        IterationEvents.LOSS_COMPLETED,
        IterationEvents.BACKWARD_COMPLETED,
        IterationEvents.MODEL_COMPLETED,
    ]
    for event in events:
        run.trainer.add_event_handler(event, lambda _, event=event: order.append(event))
    run.trainer.run()
    assert order == events * 5


def test_own_events_can_be_used_by_constructor_handlers(study):
    class Listener:
        calls = 0

        def attach(self, engine):
            engine.add_event_handler(DistillationEvents.TEACHER_FORWARD_COMPLETED, self)

        def __call__(self, _):
            self.calls += 1

    listener = Listener()
    study(epochs=1, handlers=[listener]).trainer.run()
    assert listener.calls == 5


def plain_setup(seed=0):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(24, 1, 4, 4, generator=generator)
    data = Dataset([{"image": image, "label": i % 3} for i, image in enumerate(images)])
    return network, torch.optim.SGD(network.parameters(), 0.1), data


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_without_a_teacher_it_is_monais_trainer(steps):
    states = []
    for kind in (SupervisedTrainer, DistillationTrainer):
        network, optimizer, data = plain_setup()
        loader = DataLoader(data, batch_size=5)
        kind(
            "cpu", 2, loader, network, optimizer, nn.CrossEntropyLoss(), accumulation_steps=steps, decollate=False
        ).run()
        states.append(network.state_dict())
    assert equal(*states)


def test_accumulated_small_batches_are_one_large_batch():
    states = []
    for size, steps in ((24, 1), (6, 4)):
        network, optimizer, data = plain_setup()
        trainer = DistillationTrainer(
            "cpu",
            3,
            DataLoader(data, batch_size=size),
            network,
            optimizer,
            nn.CrossEntropyLoss(),
            accumulation_steps=steps,
        )
        trainer.run()
        states.append(network.state_dict())
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name])


def test_gradients_are_clipped_together():
    network, optimizer, data = plain_setup()
    norms = []
    trainer = DistillationTrainer(
        "cpu", 1, DataLoader(data, batch_size=8), network, optimizer, nn.CrossEntropyLoss(), max_grad_norm=1e-3
    )
    trainer.add_event_handler(
        IterationEvents.MODEL_COMPLETED,
        lambda _: norms.append(torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in network.parameters()]))),
    )
    trainer.run()
    torch.testing.assert_close(torch.stack(norms), torch.full((3,), 1e-3), rtol=1e-3, atol=0)


def test_mixed_precision_runs_in_bfloat16_on_the_cpu_with_losses_in_float32(study):
    kinds = {"inside": set(), "term": set()}

    class Spy(DistillationTerm):
        def forward(self, inputs):
            kinds["term"] |= {
                t.dtype for t in (inputs.student_logits, *inputs.student_features, *inputs.teacher_features)
            }
            return inputs.student_logits.square().mean() + (inputs.student_logits @ inputs.student_logits.T).mean()

    run = study(amp=True, amp_kwargs={"dtype": torch.bfloat16}, terms=[WeightedTerm("spy", Spy(), 0.1)])
    run.student[1][0].register_forward_hook(
        lambda module, _, output: kinds["inside"].add(output.dtype) if module.training else None
    )
    run.trainer.run()
    assert kinds == {"inside": {torch.bfloat16}, "term": {torch.float32}}
    assert not run.trainer.scaler.is_enabled()
    assert all(torch.isfinite(p).all() for p in run.student.parameters())


def test_a_term_of_weight_zero_teaches_nothing_but_is_measured(study):
    rows = []
    run = study(epochs=1, terms=[WeightedTerm("kd", SoftTargets(), 0.0)])
    run.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: rows.append(engine.state.output))
    alone = study(epochs=1, distil=False)
    run.trainer.run()
    alone.trainer.run()
    assert all(row["terms"]["kd"] > 0 for row in rows)
    assert equal(run.student.state_dict(), alone.student.state_dict())


def test_metatensors_reach_the_networks_as_plain_tensors(study):
    run = study(epochs=1)
    kinds = set()
    run.student.register_forward_pre_hook(lambda _, inputs: kinds.add(type(inputs[0])))
    for item in run.extra["loader"].dataset.data:
        item["image"] = MetaTensor(item["image"])
    run.trainer.run()
    assert kinds == {torch.Tensor}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_before_the_weights_are_spoilt(study, bad):
    class Bad(DistillationTerm):
        def forward(self, inputs):
            return inputs.student_logits.square().sum() * (bad if calls.append(1) or len(calls) > 7 else 0.0)

    calls = []
    run = study(terms=[WeightedTerm("bad", Bad())])
    with pytest.raises(
        NonFiniteLossError, match=rf"the loss became {bad} in epoch 2, iteration 8 \(task .*, bad {bad}"
    ):
        run.trainer.run()
    assert all(torch.isfinite(value).all() for value in run.student.state_dict().values())


def test_a_finished_run_is_left_as_it_is(study):
    run = study(epochs=1)
    run.trainer.run()
    before = copy.deepcopy(run.student.state_dict())
    run.trainer.run()
    assert equal(before, run.student.state_dict())


def test_teacher_and_distiller_belong_together(study):
    run = study()
    with pytest.raises(ValueError, match="teacher and distiller belong together"):
        study(distil=False, teacher=run.teacher)


def test_terms_need_names_of_their_own(study):
    run = study()
    twice = [WeightedTerm("kd", SoftTargets()), WeightedTerm("kd", SoftTargets())]
    with pytest.raises(ValueError, match=r"names of their own, at least one; got \['kd', 'kd'\]"):
        Distiller(run.student, run.teacher, twice)


def test_a_compiled_student_with_taps_is_refused(study):
    with pytest.raises(ValueError, match="cannot be tapped inside a compiled student"):
        study(compile=True)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants a compiler")
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_teacher_teaches_the_same(study):
    logits = [WeightedTerm("kd", SoftTargets(2.0))]
    plain, compiled = study(terms=logits, epochs=1), study(terms=logits, epochs=1, compile_teacher=True)
    for run in (plain, compiled):
        run.trainer.run()
    assert compiled.teacher._compiled_call_impl is not None
    assert plain.teacher._compiled_call_impl is None
    for name, value in plain.student.state_dict().items():
        torch.testing.assert_close(compiled.student.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_without_a_compiler_the_teacher_runs_as_it_is(study, monkeypatch, caplog):
    monkeypatch.setattr("shutil.which", lambda _: None)
    run = study(terms=[WeightedTerm("kd", SoftTargets(2.0))], compile_teacher=True)
    assert run.teacher._compiled_call_impl is None
    assert "no C++ compiler" in caplog.text


def test_a_compiled_teacher_with_taps_is_refused(study):
    with pytest.raises(ValueError, match="cannot be tapped inside a compiled teacher"):
        study(compile_teacher=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_half_precision_on_cuda_scales_and_learns(study):
    run = study()
    for module in (run.student, run.teacher, run.distiller):
        module.cuda()
    device_run = study(amp=True, device="cuda", amp_kwargs={"dtype": torch.float16})
    for module in (device_run.student, device_run.teacher, device_run.distiller):
        module.cuda()
    device_run.trainer.run()
    assert device_run.trainer.scaler.is_enabled()
    assert all(torch.isfinite(p).all() for p in device_run.student.parameters())


def test_batches_of_unknown_number_are_trained_too(study):
    run = study(epochs=1)
    batches = list(run.extra["loader"])
    weights = []
    run.trainer.data_loader = (dict(batch) for batch in batches)
    run.trainer.state.epoch_length = None
    run.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: weights.append(engine.state.output["weighted_terms"]["hcl"].item())
    )
    run.trainer.run()
    assert weights == [0.0] * 5  # the ramp stands still within an epoch whose length is not known
