"""Predictions as a network makes them: slices of a family are alike, the more so the lower ``concentration``."""

from collections.abc import Callable

import numpy as np
import pytest

from kdmri_monai.evaluation.predictions import Predictions


def clustered(families=(12, 15, 12), found=(0.8, 0.9, 0.85), seed=0, concentration=2.5) -> Predictions:
    """One family has a probability of being right drawn from a beta distribution, and 5 to 21 slices."""
    rng = np.random.default_rng(seed)
    label_of = np.repeat(np.arange(3), families)
    mean = np.asarray(found)[label_of]
    chance = rng.beta(mean * concentration, (1 - mean) * concentration)
    family = np.repeat(np.arange(len(label_of)), rng.integers(5, 22, len(label_of)))
    label = label_of[family]
    right = rng.random(len(family)) < chance[family]
    prediction = np.where(right, label, (label + rng.integers(1, 3, len(family))) % 3)
    logits = rng.normal(size=(len(family), 3))
    logits[np.arange(len(family)), prediction] = logits.max(axis=1) + rng.exponential(size=len(family)) + 1e-3
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = np.array([f"MR{number:03d}" if number % 2 else f"{number:03d}" for number in family])
    letter = np.where(rng.random(len(family)) < 0.5, "A", "B")
    return Predictions(np.arange(len(family)).astype(str), np.char.add(names, letter), names, label, probabilities)


@pytest.fixture
def make_predictions() -> Callable[..., Predictions]:
    return clustered


@pytest.fixture
def predictions() -> Predictions:
    return clustered()
