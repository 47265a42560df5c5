"""One-for-all distillation: features of every stage become logits, where two architectures speak one language."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from monai.networks.layers import Conv, Norm, Pool
from torch import Tensor, nn

from kdmri_monai.losses.logits import check_labels, check_temperature, logit_pair
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.precision import at_least_float32


def ofa_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, exponent: float = 1.5, temperature: float = 1.0
) -> Tensor:
    """Soft cross-entropy with the target class enhanced by the teacher's trust in it.

    ``-T^2 mean_b sum_k [(p_k + 1_ky)^e - 1_ky] log s_k`` with ``p = softmax(z_t / T)``, ``s = softmax(z_s / T)`` and
    ``1_ky`` one at the label. For e = 1 this is soft cross-entropy. With e above 1 the label weighs more where the
    teacher is sure of it, and small probabilities of other classes weigh less.

    Source: Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge Distillation",
    NeurIPS 2023, section 3.3.
    Differs: the equation of the paper holds cross-entropy with the label too, which is a loss of its own here, and
    raises the label's factor alone to the power e; its published training code raises all, as is done here.

    Args:
        student_logits: Shape ``(B, K)``.
        teacher_logits: Shape ``(B, K)``; gets no gradient.
        labels: Classes, integers, shape ``(B,)``.
        exponent: ``e``; the paper calls it gamma.
        temperature: ``T``.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: The logits differ in shape or are not ``(B, K)``, labels that are not ``(B,)`` integers, or an
            exponent or temperature that is not positive.
    """
    student, teacher = logit_pair(student_logits, teacher_logits)
    check_labels(student, labels)
    check_temperature(temperature)
    _check_exponent(exponent)
    is_label = F.one_hot(labels.long(), student.shape[1]).to(teacher.dtype)
    weights = ((teacher / temperature).softmax(dim=1) + is_label).pow(exponent) - is_label
    log_probabilities = F.log_softmax(student / temperature, dim=1)
    return -(temperature**2) * (weights * log_probabilities).sum(dim=1).mean()


class OneForAll(DistillationTerm):
    """``ofa_loss`` of early exits of the student, one at each of its taps, and of its own logits, summed.

    An exit turns features into logits: maps by a separable 3 x 3 convolution, normalisation, mean over space and a
    linear layer, vectors by normalisation and a linear layer. Exits learn with the student and are left behind with the
    term. Of the teacher only the logits are read, so its architecture and taps do not matter.

    Args:
        exponent: ``e``, how much the target class is enhanced; 1 for soft cross-entropy.
        temperature: ``T`` of the softened classes.
        output: Whether the student's own logits are taught beside the exits.
    """

    wants: ClassVar[Literal["vectors"]] = "vectors"  # maps are as good, they keep their places longer
    taps_teacher: ClassVar[bool] = False

    def __init__(self, exponent: float = 1.5, temperature: float = 1.0, output: bool = True) -> None:
        super().__init__()
        _check_exponent(exponent)
        check_temperature(temperature)
        self.exponent = exponent
        self.temperature = temperature
        self.output = output
        self.exits: nn.ModuleList | None = None

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Make an exit for every student tap.

        Raises:
            ValueError: No student taps.
        """
        del teacher_shapes
        if not student_shapes:
            raise ValueError("ofa wants at least one student tap to make an exit of; got none")
        self.exits = nn.ModuleList(_exit(shape, num_classes) for shape in student_shapes)

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar: the sum over the exits and, where asked for, the student's own logits.

        Raises:
            RuntimeError: ``build`` was not called.
        """
        if self.exits is None:
            raise RuntimeError("OneForAll.build must be called with the shapes of the taps before the first batch")
        answers = [
            make_logits(at_least_float32(features))
            for make_logits, features in zip(self.exits, inputs.student_features, strict=True)
        ]
        if self.output:
            answers.append(inputs.student_logits)
        losses = [
            ofa_loss(logits, inputs.teacher_logits, inputs.labels, self.exponent, self.temperature)
            for logits in answers
        ]
        return torch.stack(losses).sum()


def _exit(shape: Sequence[int], num_classes: int) -> nn.Sequential:
    """Features of one tap, ``(B, *shape)``, to logits ``(B, K)``; a batch of one and maps of one pixel work too."""
    channels, dims = shape[0], len(shape) - 1
    if dims == 0:
        return nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, num_classes))
    convolution = Conv[Conv.CONV, dims]
    return nn.Sequential(
        convolution(channels, channels, 3, padding=1, groups=channels, bias=False),
        convolution(channels, channels, 1, bias=False),
        Norm[Norm.GROUP, dims](num_groups=1, num_channels=channels),
        nn.GELU(),
        Pool[Pool.ADAPTIVEAVG, dims](1),
        nn.Flatten(),
        nn.Linear(channels, num_classes),
    )


def _check_exponent(exponent: float) -> None:
    if exponent <= 0:
        raise ValueError(f"exponent is {exponent}, it must be positive")
