"""The trainer: MONAI's, with a teacher beside the student and mixed precision on any device."""

import logging
import shutil
from typing import Any

import torch
from ignite.engine import EventEnum, Events
from monai.data import MetaTensor
from monai.engines import IterationEvents, SupervisedTrainer
from monai.engines.workflow import Workflow
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn

from kdmri_monai.engines.batch_statistics import average_statistics
from kdmri_monai.engines.batches import AugmentedBatch
from kdmri_monai.engines.distiller import Distiller
from kdmri_monai.engines.process_average import average_gradients, loss_share, same_everywhere
from kdmri_monai.engines.processes import several_processes
from kdmri_monai.losses.terms import DistillationInputs

logger = logging.getLogger(__name__)

COMPILERS = ("g++", "clang++", "cl")
"""One of them is what ``torch.compile`` wants on a CPU."""

PRIVILEGED = frozenset({"mask", "has_mask", "border", "distance"})


class DistillationEvents(EventEnum):
    """Events of ``DistillationTrainer`` beside MONAI's ``IterationEvents``."""

    TEACHER_FORWARD_COMPLETED = "teacher_forward_completed"
    DISTILLATION_LOSS_COMPLETED = "distillation_loss_completed"


class DistillationTrainer(SupervisedTrainer):
    """Trains ``network``, the bare student, on its own loss and, with a teacher, on the terms of a distiller.

    Without teacher and distiller it is a supervised trainer of the same code, which the baseline and the teacher use.
    Differs from MONAI's trainer: autocast and gradient scaler follow the device (bfloat16 works on the CPU), the scaler
    outlives ``run`` and so can be saved, gradients can be clipped, and batches are not decollated, since that and
    per-sample postprocessing cost more than a step of a small student.

    ``state.output`` holds ``image``, ``label``, ``pred`` (float32 logits), ``loss`` (the sum that is minimised) and
    ``terms``: the raw value of ``task`` and of every distillation term; with a distiller ``weighted_terms`` and with a
    teacher ``teacher_pred`` too. Until ``LOSS_COMPLETED`` is over, ``weighted_terms`` carry their gradients.

    Where ``prepare_batch`` gives soft targets ``(B, K)`` (mixup), the loss takes them; ``label`` is then the hard label
    of the batch, for metrics and terms.

    Where several processes have joined, gradients of student and distiller are averaged over all samples of a step
    before they are clipped, running statistics of normalisation layers after every iteration, and all start from the
    weights of the first process. ``network`` needs no wrapper for that.

    Args:
        *args: As for ``monai.engines.SupervisedTrainer``.
        teacher: The distiller's teacher; it is frozen and kept in eval mode.
        distiller: The terms; it may come without a teacher if no term needs one.
        max_grad_norm: Norm to which the gradients of all trained parameters are clipped together; ``None`` for no
            clipping.
        event_names: Further events.
        compile_teacher: Run the teacher, or every member of one, through ``torch.compile``; about twice as fast on a
            CPU for an EfficientNet. Its features cannot be tapped then. Without a C++ compiler it runs as it is there.
        **kwargs: As for ``monai.engines.SupervisedTrainer``; ``decollate`` is False by default.

    Raises:
        ValueError: Trainer and distiller have not the same teacher; taps on what is to be compiled; terms or a teacher
            that want masks where ``prepare_batch`` is an ``AugmentedBatch`` that has none.
    """

    def __init__(
        self,
        *args: Any,
        teacher: nn.Module | None = None,
        distiller: Distiller | None = None,
        max_grad_norm: float | None = None,
        event_names: list[Any] | None = None,
        compile_teacher: bool = False,
        **kwargs: Any,
    ) -> None:
        if (teacher is None) != (distiller is None or distiller.read_teacher is None):
            raise ValueError("teacher and distiller belong together: give both the same teacher, or none to both")
        if kwargs.get("compile") and distiller is not None and len(distiller.student_taps):
            raise ValueError(
                "features cannot be tapped inside a compiled student: compile=False, or terms without taps"
            )
        if distiller is not None:
            _refuse_missing_masks(distiller, kwargs.get("prepare_batch"))
        # handlers are attached inside super().__init__ and may want these
        self.teacher = teacher.requires_grad_(False).eval() if teacher is not None else None
        self.distiller = distiller
        self.max_grad_norm = max_grad_norm
        kwargs.setdefault("decollate", False)
        super().__init__(*args, event_names=[DistillationEvents, *(event_names or [])], **kwargs)
        if compile_teacher:
            _compile_teacher(distiller, self.state.device)
        self.scaler = self._make_scaler()
        self.loss_share: float | Tensor = 1.0
        if several_processes():
            self.add_event_handler(Events.STARTED, self._start_alike)

    def run(self) -> None:
        """Train up to ``max_epochs``; a run that is already there is left as it is."""
        if self.state.max_epochs is not None and self.state.epoch >= self.state.max_epochs:
            logger.info("all %s epochs are done, nothing to train", self.state.max_epochs)
            return
        Workflow.run(self)  # SupervisedTrainer.run would put a new CUDA-only scaler in place of ours

    @property
    def _learners(self) -> list[nn.Module]:
        return [self.network] if self.distiller is None else [self.network, self.distiller]

    def _start_alike(self) -> None:
        for module in self._learners:
            same_everywhere(module)

    def _make_scaler(self) -> torch.amp.GradScaler | None:
        if not self.amp:
            return None
        device, dtype = self.state.device.type, self.amp_kwargs.get("dtype")
        return torch.amp.GradScaler(device, enabled=device == "cuda" and dtype in (None, torch.float16))

    def _iteration(self, engine: SupervisedTrainer, batchdata: dict[str, Any]) -> dict[str, Any]:
        if batchdata is None:
            raise ValueError("Must provide batch data for current iteration.")
        prepared = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)
        inputs, targets, args, kwargs = prepared if len(prepared) == 4 else (*prepared, (), {})
        inputs, targets = _plain(inputs), _plain(targets)
        self._refuse_privileged(kwargs)
        labels = targets if targets.ndim == 1 else _plain(batchdata[Keys.LABEL])
        output = engine.state.output = {Keys.IMAGE: inputs, Keys.LABEL: labels}

        if several_processes():
            self.loss_share = loss_share(len(inputs), inputs.device)
        first, last = self._place_in_accumulation()
        self.network.train()
        if first:
            self.optimizer.zero_grad(set_to_none=self.optim_set_to_none)
        if self.distiller is None:
            with self._autocast():
                prediction = self.inferer(inputs, self.network, *args, **kwargs)
            self._complete_forward(prediction, targets)
            output[Keys.LOSS] = output["terms"]["task"]
        else:
            self._distil(inputs, targets, batchdata, args, kwargs)
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        for kind in ("terms", "weighted_terms"):
            output[kind] = {name: value.detach() for name, value in output.get(kind, {}).items()}
        self._learn(output[Keys.LOSS] / self.accumulation_steps, step=last)
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _distil(self, inputs: Tensor, targets: Tensor, batchdata: Any, args: Any, kwargs: Any) -> None:
        assert self.distiller is not None
        output = self.state.output
        teacher_features: list[Tensor] = []
        self.distiller.train()
        with self._autocast():
            if self.distiller.read_teacher is not None:
                teacher_logits, teacher_features = self.distiller.read_teacher(inputs, batchdata)
                output["teacher_pred"] = teacher_logits.float()
                self.fire_event(DistillationEvents.TEACHER_FORWARD_COMPLETED)
            with self.distiller.student_taps.collect() as student_features:
                prediction = self.inferer(inputs, self.network, *args, **kwargs)
        self._complete_forward(prediction, targets)
        given = DistillationInputs(
            student_logits=output[Keys.PRED],
            teacher_logits=output.get("teacher_pred", output[Keys.PRED].detach()[:0]),
            labels=output[Keys.LABEL],
            student_features=[feature.float() for feature in student_features],
            teacher_features=[feature.float() for feature in teacher_features],
            batch=batchdata,
        )
        distilled = self.distiller(given, epoch=self._epochs_done())
        output[Keys.LOSS] = output["terms"]["task"] + distilled.total
        output["weighted_terms"] = {"task": output["terms"]["task"], **distilled.weighted}
        output["terms"].update(distilled.raw)
        self.fire_event(DistillationEvents.DISTILLATION_LOSS_COMPLETED)

    def _refuse_privileged(self, given: dict[str, Any]) -> None:
        """A student that is distilled takes the image alone, whatever ``prepare_batch`` offers."""
        privileged = sorted(PRIVILEGED & given.keys())
        if privileged and self.distiller is not None:
            raise ValueError(
                f"prepare_batch gives the student {', '.join(privileged)}: mask, border and distance are for teachers "
                "and for losses only. Leave privileged_keys of AugmentedBatch empty"
            )

    def _complete_forward(self, prediction: Tensor, targets: Tensor) -> None:
        self.state.output[Keys.PRED] = prediction.float()
        self.fire_event(IterationEvents.FORWARD_COMPLETED)
        task = self.loss_function(self.state.output[Keys.PRED], targets).mean()
        self.state.output["terms"] = {"task": task}

    def _learn(self, loss: Tensor, step: bool) -> None:
        scaler, several = self.scaler, several_processes()
        loss = loss * self.loss_share if several else loss
        (loss if scaler is None else scaler.scale(loss)).backward()
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if several:
            average_statistics(*self._learners)
        if not step:
            return
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        if several:
            average_gradients(trained)  # scaled alike in all processes: what overflows in one does so in all
        if self.max_grad_norm is not None:
            if scaler is not None:
                scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(trained, self.max_grad_norm)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.state.device.type, enabled=self.amp, **self.amp_kwargs)

    def _epochs_done(self) -> float:
        """Epochs before this batch, a fraction within an epoch; whole ones where its length is not known."""
        length = self.state.epoch_length
        return float(self.state.epoch - 1) if length is None else float((self.state.iteration - 1) / length)

    def _place_in_accumulation(self) -> tuple[bool, bool]:
        """Whether this batch is the first and the last of those whose gradients are added up."""
        steps, length = self.accumulation_steps, self.state.epoch_length
        place = self.state.iteration - 1 if length is None else (self.state.iteration - 1) % length
        return place % steps == 0, (place + 1) % steps == 0 or place + 1 == length


def _compile_teacher(distiller: Distiller | None, device: torch.device) -> None:
    reader = distiller.read_teacher if distiller is not None else None
    if reader is None:
        return
    if reader.tapped:
        raise ValueError(
            "features cannot be tapped inside a compiled teacher: compile_teacher=False, or terms on logits alone"
        )
    if device.type == "cpu" and not any(map(shutil.which, COMPILERS)):
        logger.warning("no C++ compiler was found (%s): the teacher runs uncompiled", ", ".join(COMPILERS))
        return
    teacher = getattr(reader.teacher, "teacher", reader.teacher)  # that of a cache
    for network in getattr(teacher, "members", [teacher]):
        network.compile()


def _refuse_missing_masks(distiller: Distiller, prepare_batch: Any) -> None:
    wanting = distiller.wanting("mask")
    if wanting and isinstance(prepare_batch, AugmentedBatch) and "mask" not in prepare_batch.mask_keys:
        raise ValueError(
            f"{', '.join(wanting)} want masks; the batches hold none that follow the image: set mask_keys to ['mask']"
        )


def _plain(value: Any) -> Any:
    return value.as_tensor() if isinstance(value, MetaTensor) else value
