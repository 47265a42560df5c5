"""Checks on logits and labels, and the label's class apart from the others."""

import numpy as np
import pytest
import torch

from kdmri_monai.losses.logits import check_temperature, logit_pair, split_target


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_label_is_taken_out_and_the_others_keep_their_order(classes):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(7, classes)), rng.integers(classes, size=7)
    target, others = split_target(torch.from_numpy(logits), torch.from_numpy(labels))
    np.testing.assert_array_equal(target[:, 0], logits[np.arange(7), labels])
    np.testing.assert_array_equal(others, [np.delete(row, k) for row, k in zip(logits, labels, strict=True)])


def test_halves_become_float32_and_the_teacher_is_detached():
    student, teacher = (torch.zeros(2, 3, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    student, teacher = logit_pair(student, teacher)
    assert student.dtype == teacher.dtype == torch.float32
    assert student.requires_grad
    assert not teacher.requires_grad


def test_wrong_input_is_told():
    with pytest.raises(ValueError, match=r"student logits \(2, 3\), teacher logits \(2, 4\)"):
        logit_pair(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"logits are \(2, 1\), they must be \(B, K\) with at least 2 classes"):
        logit_pair(torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"logits are \(3,\), they must be \(B, K\)"):
        logit_pair(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"labels are \(3,\) of torch.int64, .* each of 2 samples"):
        split_target(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"labels are \(2,\) of torch.float32"):
        split_target(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(ValueError, match="temperature is 0, it must be positive"):
        check_temperature(0)
