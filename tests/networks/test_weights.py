"""Weights from files: exact, safe, and refused with a reason."""

import pickle

import pytest
import torch
from torch import nn

from kdmri_monai.networks import WeightsError, load_weights


class Evil:
    def __reduce__(self):
        return (open, ("/tmp/kdmri_evil_was_here", "w"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


def test_weights_come_back_bit_equal(path):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    torch.save(source.state_dict(), path)
    assert load_weights(target, path) is target
    assert torch.equal(source.weight, target.weight)


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_nested_weights_are_found(path, key):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    torch.save({key: source.state_dict()}, path)
    load_weights(target, path)
    assert torch.equal(source.bias, target.bias)


def test_a_missing_file_is_named(path):
    with pytest.raises(FileNotFoundError, match=r"teacher_ckpt: there is no file .*model.pt"):
        load_weights(nn.Linear(3, 2), path, role="teacher_ckpt")


def test_weights_of_another_network_are_refused_and_nothing_is_changed(path):
    torch.save(nn.Linear(4, 2).state_dict() | {"extra": torch.zeros(1)}, path)
    target = nn.Sequential(nn.Linear(3, 2))
    before = target[0].weight.clone()
    with pytest.raises(WeightsError, match=r"of another network than Sequential: missing 0.weight, 0.bias; unexpected"):
        load_weights(target, path)
    assert torch.equal(before, target[0].weight)


def test_another_shape_is_told_with_both_shapes(path):
    torch.save(nn.Linear(4, 2).state_dict(), path)
    with pytest.raises(WeightsError, match=r"other shape weight \(2, 4\) instead of \(2, 3\)"):
        load_weights(nn.Linear(3, 2), path)


def test_code_in_a_checkpoint_does_not_run(path, tmp_path):
    Evil.__reduce__ = lambda self: (open, (str(tmp_path / "evil"), "w"))
    path.write_bytes(pickle.dumps({"weight": Evil()}, protocol=2))
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_weights(nn.Linear(3, 2), path)
    torch.save({"weight": Evil()}, path)
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_weights(nn.Linear(3, 2), path)
    assert not (tmp_path / "evil").exists()


def test_a_truncated_file_is_told(path):
    torch.save(nn.Linear(300, 200).state_dict(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_weights(nn.Linear(300, 200), path)


def test_a_tensor_is_no_state_dict(path):
    torch.save(torch.zeros(3), path)
    with pytest.raises(WeightsError, match="holds Tensor, not a state dict"):
        load_weights(nn.Linear(3, 2), path)
