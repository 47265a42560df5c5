"""Kept answers of a teacher: the same training as without, and never an answer to another question."""

import json

import numpy as np
import pytest
import torch
from kornia import augmentation as K
from monai.data import DataLoader, Dataset
from torch import nn
from torch.utils.data import DistributedSampler

from kdmri_monai.engines import AugmentedBatch, DistillationTrainer, Distiller
from kdmri_monai.engines.crossfit import CrossFittedTeacher
from kdmri_monai.engines.replay import ReplayedAugmentation
from kdmri_monai.engines.teacher_cache import CachedTeacher, look_of, weights_digest
from kdmri_monai.engines.teacher_reading import TeacherReader
from kdmri_monai.losses import FusedFeatures, SoftTargets
from kdmri_monai.losses.weighting import WeightedTerm


def network(width, seed):
    torch.manual_seed(seed)
    layers = nn.Conv2d(1, width, 3, stride=2), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(width, 3)).eval()


def augmentation(seed=0, degrees=20.0):
    steps = K.RandomHorizontalFlip(p=0.5), K.RandomAffine(degrees, p=0.8), K.RandomGaussianNoise(std=0.05, p=0.5)
    return ReplayedAugmentation(K.AugmentationSequential(*steps, data_keys=["input"]), seed)


class Named(AugmentedBatch):
    """Names the samples to the augmentation, whether or not ``AugmentedBatch`` does."""

    def __call__(self, batchdata, *args, **kwargs):
        if self.augmentation is not None:
            self.augmentation.prepare(batchdata["id"])
        return super().__call__(batchdata, *args, **kwargs)


@pytest.fixture
def datalist(tmp_path):
    path = tmp_path / "datalist.json"
    path.write_text('{"any": "content"}')
    return path


@pytest.fixture
def samples():
    images = torch.rand(22, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    return [
        {"image": image, "label": i % 3, "id": f"slice {i}", "family": f"{i % 4}"} for i, image in enumerate(images)
    ]


def asked(teacher):
    """How many images the teacher has been shown, as a list of batch sizes."""
    sizes = []
    teacher.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    return sizes


def train(samples, teacher, augmented, epochs=3, handlers=(), seed=0):
    """Weights of a student after a short distillation."""
    student = network(4, seed).train()
    distiller = Distiller(student, teacher, [WeightedTerm("kd", SoftTargets(2.0), 1.0)], image_shape=(1, 16, 16))
    data = Dataset(samples)
    sampler = DistributedSampler(data, num_replicas=1, rank=0, shuffle=True, seed=seed)
    trainer = DistillationTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(data, batch_size=8, sampler=sampler),
        network=student,
        teacher=teacher,
        distiller=distiller,
        optimizer=torch.optim.AdamW(student.parameters(), 1e-2),
        loss_function=nn.CrossEntropyLoss(),
        prepare_batch=Named(augmented),
        train_handlers=[augmented, *handlers],
    )
    trainer.run()
    return student.state_dict()


def equal(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_student_of_kept_answers_is_bit_by_bit_that_of_the_teacher(tmp_path, datalist, samples):
    expected = train(samples, network(6, 9), augmentation())
    for computed in (66, 0):  # the first run asks about every view, the second about none
        teacher, augmented = network(6, 9), augmentation()
        cached = CachedTeacher(teacher, tmp_path / "kept", augmented, datalist, 16)
        shown = asked(teacher)
        assert equal(train(samples, cached, augmented, handlers=[cached]), expected)
        assert sum(shown) == computed
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == [
        *(f"epoch-0000{epoch}-of-0.npz" for epoch in (1, 2, 3)),
        "fingerprint.json",
    ]


def test_views_matter_for_the_student(samples):
    """Else the test above would pass with answers to any view."""
    assert not equal(train(samples, network(6, 9), augmentation(0)), train(samples, network(6, 9), augmentation(1)))


def test_another_student_asks_nothing_anew(tmp_path, datalist, samples):
    first, augmented = network(6, 9), augmentation()
    train(
        samples,
        cached := CachedTeacher(first, tmp_path / "kept", augmented, datalist, 16),
        augmented,
        handlers=[cached],
    )
    teacher, augmented = network(6, 9), augmentation()
    shown = asked(teacher)
    train(samples, CachedTeacher(teacher, tmp_path / "kept", augmented, datalist, 16), augmented, seed=3)
    assert not shown


def batch_of(samples, places, augmented):
    batch = {
        "image": torch.stack([samples[place]["image"] for place in places]),
        "id": [samples[place]["id"] for place in places],
        "family": [samples[place]["family"] for place in places],
    }
    if augmented is not None:
        augmented.prepare(batch["id"])
        batch["image"] = augmented(batch["image"])
    return batch


def test_samples_that_are_missing_are_asked_and_kept(tmp_path, datalist, samples):
    teacher, augmented = network(6, 9), augmentation()
    cached = CachedTeacher(teacher, tmp_path, augmented, datalist, 16)
    shown, read = asked(teacher), TeacherReader(cached)
    augmented.set_epoch(1)
    for places, total in (([0, 1, 2], 3), ([1, 5, 0], 4), ([5, 2], 4)):
        batch = batch_of(samples, places, augmented)
        torch.testing.assert_close(read(batch["image"], batch)[0], network(6, 9)(batch["image"]))
        assert sum(shown) == total
    cached.save()
    again = CachedTeacher(teacher, tmp_path, augmented, datalist, 16)
    batch = batch_of(samples, [2, 1, 5, 0], augmented)
    torch.testing.assert_close(again(batch["image"], id=batch["id"]), network(6, 9)(batch["image"]))
    batch = batch_of(samples, [7, 2], augmented)
    assert torch.equal(again(batch["image"], id=batch["id"]), cached(batch["image"], id=batch["id"]))
    again.save()
    with np.load(tmp_path / "epoch-00001-of-0.npz", allow_pickle=False) as content:
        assert sorted(content["keys"]) == [f"0 slice {i}" for i in (0, 1, 2, 5, 7)]


def test_an_epoch_is_written_when_the_next_one_begins(tmp_path, datalist, samples):
    augmented = augmentation()
    cached = CachedTeacher(network(6, 9), tmp_path, augmented, datalist, 16)
    for epoch in (1, 2):
        augmented.set_epoch(epoch)
        batch = batch_of(samples, [0, 1], augmented)
        cached(batch["image"], id=batch["id"])
    assert [file.name for file in tmp_path.glob("*.npz")] == ["epoch-00001-of-0.npz"]


def test_views_of_one_sample_in_one_batch_are_kept_apart(tmp_path, datalist, samples):
    augmented = augmentation()
    augmented.set_epoch(1)
    cached = CachedTeacher(network(6, 9), tmp_path, augmented, datalist, 16)
    batch = batch_of(samples, [3, 3], augmented)
    torch.testing.assert_close(cached(batch["image"], id=batch["id"]), network(6, 9)(batch["image"]))


def test_without_augmentation_one_file_serves_all_epochs(tmp_path, datalist, samples):
    teacher = network(6, 9)
    cached, shown = CachedTeacher(teacher, tmp_path, None, datalist, 16), asked(teacher)
    batch = batch_of(samples, [0, 1], None)
    for _ in range(3):
        cached(batch["image"], id=batch["id"])
    cached.save()
    assert shown == [2]
    assert [file.name for file in tmp_path.glob("*.npz")] == ["epoch-00000-of-0.npz"]


def test_teachers_that_want_more_are_given_it_for_the_missing_samples(tmp_path, datalist, samples):
    teacher = CrossFittedTeacher([network(6, 1), network(6, 2)], [{"0", "1"}, {"2", "3"}])
    cached = CachedTeacher(teacher, tmp_path, None, datalist, 16)
    assert cached.privileged_keys == ("id", "family")
    read = TeacherReader(cached)
    read(batch_of(samples, [0, 1], None)["image"], batch_of(samples, [0, 1], None))
    batch = batch_of(samples, [0, 2, 1, 3], None)
    torch.testing.assert_close(read(batch["image"], batch)[0], teacher(batch["image"], family=batch["family"]))


def test_an_answer_to_another_view_is_refused(tmp_path, datalist, samples):
    augmented = augmentation()
    augmented.set_epoch(1)
    cached = CachedTeacher(network(6, 9), tmp_path, augmented, datalist, 16)
    batch = batch_of(samples, [0, 1, 2], augmented)
    cached(batch["image"], id=batch["id"])
    mixed = 0.8 * batch["image"] + 0.2 * batch["image"].roll(1, 0)
    for other in (mixed, batch["image"].flip(3), batch["image"] * float("nan")):
        with pytest.raises(ValueError, match="another view of 'slice 0' in epoch 1"):
            cached(other, id=batch["id"])
    cached(batch["image"] + 1e-5, id=batch["id"])  # rounding is no other view


def test_the_look_of_a_view_is_the_mean_of_its_cells():
    image = torch.rand(2, 1, 8, 12)
    cells = image.numpy().reshape(2, 1, 4, 2, 4, 3).mean(axis=(3, 5))
    np.testing.assert_allclose(look_of(image).numpy(), cells, rtol=1e-5)
    assert look_of(torch.rand(2, 1, 8, 8, 8)).shape == (2, 1, 4, 4, 4)


def changed(name, tmp_path, datalist):
    """Everything as before, but one thing."""
    teacher, augmented, size = network(6, 9), augmentation(), 16
    if name == "teacher":
        teacher[5].bias.data[0] += 1e-6
    elif name == "augmentation":
        augmented = augmentation(degrees=21.0)
    elif name == "seed of the augmentation":
        augmented = augmentation(seed=1)
    elif name == "image size":
        size = 17
    elif name == "datalist":
        datalist.write_text('{"other": "content"}')
    elif name == "kornia":
        path = tmp_path / "kept" / "fingerprint.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "kornia": "0.1"}))
    return CachedTeacher(teacher, tmp_path / "kept", augmented, datalist, size)


@pytest.mark.parametrize(
    "name", ["teacher", "augmentation", "seed of the augmentation", "image size", "datalist", "kornia"]
)
def test_stale_answers_are_refused_with_the_reason(name, tmp_path, datalist):
    CachedTeacher(network(6, 9), tmp_path / "kept", augmentation(), datalist, 16)
    changed("nothing", tmp_path, datalist)
    with pytest.raises(ValueError, match=f"holds answers for another {name}: they are stale"):
        changed(name, tmp_path, datalist)


def test_the_digest_of_a_teacher_is_that_of_its_weights_and_buffers():
    digest = weights_digest(network(6, 9))
    assert digest == weights_digest(network(6, 9))
    other = network(6, 9)
    other[1].running_mean += 1
    assert digest != weights_digest(other)
    assert len({digest, weights_digest(network(6, 9).bfloat16()), weights_digest(network(6, 8))}) == 3


def test_views_that_never_come_again_are_refused(tmp_path, datalist):
    with pytest.raises(ValueError, match="wants a ReplayedAugmentation, got AugmentationSequential"):
        CachedTeacher(network(6, 9), tmp_path, augmentation().augmentation, datalist, 16)


def test_calls_that_cannot_be_kept_are_refused(tmp_path, datalist, samples):
    cached = CachedTeacher(network(6, 9), tmp_path, augmented := augmentation(), datalist, 16)
    with pytest.raises(ValueError, match="knows no epoch"):
        cached(samples[0]["image"][None], id=["slice 0"])
    augmented.set_epoch(1)
    with pytest.raises(ValueError, match="2 ids for 1 images"):
        cached(samples[0]["image"][None], id=["slice 0", "slice 1"])


def test_files_that_are_not_ours_or_damaged_are_named(tmp_path, datalist, samples):
    (tmp_path / "epoch-00000-of-0.npz").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(ValueError, match=r"answers of a teacher but no fingerprint\.json"):
        CachedTeacher(network(6, 9), tmp_path, None, datalist, 16)
    cached = CachedTeacher(network(6, 9), tmp_path / "new", None, datalist, 16)
    (tmp_path / "epoch-00000-of-0.npz").rename(tmp_path / "new" / "epoch-00000-of-0.npz")
    with pytest.raises(ValueError, match=r"epoch-00000-of-0\.npz is damaged"):
        cached(samples[0]["image"][None], id=["slice 0"])


def test_answers_of_all_processes_are_found(tmp_path, datalist, samples):
    batch = batch_of(samples, [0, 1, 2], None)
    cached = CachedTeacher(network(6, 9), tmp_path, None, datalist, 16)
    cached(batch["image"][:2], id=batch["id"][:2])
    cached.save()
    (tmp_path / "epoch-00000-of-0.npz").rename(tmp_path / "epoch-00000-of-1.npz")
    teacher = network(6, 9)
    shown = asked(teacher)
    CachedTeacher(teacher, tmp_path, None, datalist, 16)(batch["image"], id=batch["id"])
    assert shown == [1]


def test_terms_on_features_are_refused(tmp_path, datalist):
    cached = CachedTeacher(network(6, 9), tmp_path, None, datalist, 16)
    term = WeightedTerm("hcl", FusedFeatures(("abf", {"width": 4})), 1.0)
    with pytest.raises(ValueError, match="`hcl` wants maps; a CachedTeacher gives logits only"):
        Distiller(network(4, 0), cached, [term], ["0", "2"], ["0", "2"], (1, 16, 16))
