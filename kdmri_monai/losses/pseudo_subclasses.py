"""Pseudo-subclasses: what the teacher's embeddings tell apart within a class becomes K x S targets."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdmri_monai.losses.logits import check_temperature
from kdmri_monai.losses.subclass_directions import check_subclasses, subclass_directions
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.precision import at_least_float32
from kdmri_monai.networks.resampling import pooled


def subclass_targets(
    embeddings: Tensor,
    logits: Tensor,
    means: Tensor,
    directions: Tensor,
    temperature: float = 2.0,
    subclass_temperature: float = 1.0,
) -> Tensor:
    """Log-probabilities of the pseudo-subclasses, ``log p_k + log softmax_s(v_ks . (f - m_k) / U)``.

    ``p = softmax(z / T)`` of the teacher's logits z, so the subclasses of a class sum to its probability.

    Source: Loo et al., 2024, arXiv 2409.20449, section 3.

    Args:
        embeddings: Teacher's embeddings f, shape ``(B, D)``.
        logits: Its logits, shape ``(B, K)``.
        means: ``m``, shape ``(K, D)``.
        directions: ``v``, shape ``(K, S, D)``.
        temperature: ``T`` of the classes.
        subclass_temperature: ``U`` of the subclasses of a class; the paper calls it beta.

    Returns:
        Shape ``(B, K, S)``, without gradient.

    Raises:
        ValueError: A temperature that is not positive.
    """
    check_temperature(temperature)
    check_temperature(subclass_temperature)
    embeddings, logits = at_least_float32(embeddings).detach(), at_least_float32(logits).detach()
    classes = F.log_softmax(logits / temperature, dim=1)
    offsets = embeddings.unsqueeze(1) - means
    coordinates = torch.einsum("bkd,ksd->bks", offsets, directions)
    return classes.unsqueeze(2) + F.log_softmax(coordinates / subclass_temperature, dim=2)


def lelp_loss(student_logits: Tensor, log_targets: Tensor) -> Tensor:
    """Kullback-Leibler divergence over all K x S pseudo-subclasses, from the teacher's to the student's.

    Args:
        student_logits: Student's logits of the pseudo-subclasses, shape ``(B, K, S)``.
        log_targets: Log-probabilities as ``subclass_targets`` gives them, shape ``(B, K, S)``; get no gradient.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: The shapes differ or are not ``(B, K, S)``.
    """
    shapes = tuple(student_logits.shape), tuple(log_targets.shape)
    if shapes[0] != shapes[1] or len(shapes[0]) != 3:
        raise ValueError(f"student logits {shapes[0]} and targets {shapes[1]} must both be (B, K, S)")
    student = F.log_softmax(at_least_float32(student_logits).flatten(1), dim=1)
    targets = at_least_float32(log_targets).detach().flatten(1)
    return F.kl_div(student, targets, reduction="batchmean", log_target=True)


class PseudoSubclasses(DistillationTerm):
    """The student's embedding learns to tell the teacher's pseudo-subclasses apart, through a linear head of its own.

    ``fit`` must be given the teacher's answers to the training set once, before the first batch; what it finds is kept
    in buffers and so in checkpoints.

    Source: Loo et al., 2024, arXiv 2409.20449.
    Differs: the paper puts the K x S head in place of the student's classifier and sums over S at inference. Here it
    stands beside the classifier and is left behind with the term, so the student stays as it is and its classifier is
    taught by other losses. No ``T^2``: the student's side is not softened, so gradients do not shrink with T.

    Args:
        subclasses: ``S``, pseudo-subclasses of every class.
        temperature: ``T`` of the teacher's classes.
        subclass_temperature: Temperature of the subclasses of a class, in standard deviations of the embeddings.
        seed: Of the rotation of the directions.
    """

    wants: ClassVar[Literal["vectors"]] = "vectors"
    compares_channels: ClassVar[bool] = True
    needs_fit: ClassVar[bool] = True

    means: Tensor
    directions: Tensor
    fitted: Tensor

    def __init__(
        self, subclasses: int = 4, temperature: float = 2.0, subclass_temperature: float = 1.0, seed: int = 0
    ) -> None:
        super().__init__()
        check_subclasses(subclasses)
        check_temperature(temperature)
        check_temperature(subclass_temperature)
        self.subclasses = subclasses
        self.temperature = temperature
        self.subclass_temperature = subclass_temperature
        self.seed = seed
        self.head: nn.Linear | None = None

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Make the student's head and room for the teacher's directions.

        Raises:
            ValueError: Not one tap on both sides.
        """
        if len(student_shapes) != 1 or len(teacher_shapes) != 1:
            raise ValueError(
                "lelp wants one student tap and one teacher tap, their embeddings; "
                f"got {[tuple(s) for s in student_shapes]} and {[tuple(s) for s in teacher_shapes]}"
            )
        width = teacher_shapes[0][0]
        self.head = nn.Linear(student_shapes[0][0], num_classes * self.subclasses)
        self.register_buffer("means", torch.zeros(num_classes, width))
        self.register_buffer("directions", torch.zeros(num_classes, self.subclasses, width))
        self.register_buffer("fitted", torch.tensor(False))

    @torch.no_grad()
    def fit(self, embeddings: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Find the pseudo-subclasses in the teacher's answers to the training set (``subclass_directions``).

        Args:
            embeddings: What the teacher's tap gives, averaged over space, shape ``(N, D)``.
            logits: Teacher's logits, shape ``(N, K)``.
            labels: Classes, integers, shape ``(N,)``.

        Raises:
            RuntimeError: ``build`` was not called.
            ValueError: D or K are not those of ``build``, or the embeddings cannot be split.
        """
        self._built()
        means, directions = subclass_directions(embeddings, logits, labels, self.subclasses, self.seed)
        if means.shape != self.means.shape:
            raise ValueError(
                f"lelp was built for {tuple(self.means.shape)} classes and channels and is fitted to "
                f"{tuple(means.shape)}"
            )
        self.means.copy_(means)
        self.directions.copy_(directions)
        self.fitted.fill_(True)

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Divergence, a scalar.

        Raises:
            RuntimeError: ``build`` or ``fit`` was not called.
        """
        head = self._built()
        if not self.fitted:
            raise RuntimeError("PseudoSubclasses.fit must see the teacher's embeddings of the training set first")
        student = head(at_least_float32(pooled(inputs.student_features[0])))
        targets = subclass_targets(
            pooled(inputs.teacher_features[0]),
            inputs.teacher_logits,
            self.means,
            self.directions,
            self.temperature,
            self.subclass_temperature,
        )
        return lelp_loss(student.unflatten(1, (-1, self.subclasses)), targets)

    def _built(self) -> nn.Linear:
        if self.head is None:
            raise RuntimeError("PseudoSubclasses.build must be called with the shapes of the taps first")
        return self.head
