"""Reading a teacher: what it is given, what it gives, and that it stays as it was."""

import copy

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from kdmri_monai.engines.crossfit import CrossFittedTeacher
from kdmri_monai.engines.teacher_reading import TeacherReader
from kdmri_monai.networks.ensembles import TeacherEnsemble


def network(seed):
    torch.manual_seed(seed)
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 3))


class SeesMask(nn.Module):
    privileged_keys = ("mask", "has_mask")

    def __init__(self):
        super().__init__()
        self.backbone = network(5)

    def forward(self, image, mask, has_mask):
        return self.backbone(image * mask) * has_mask[:, None]


@pytest.fixture
def images():
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def test_logits_and_features_are_those_of_the_teacher_in_eval_mode(images):
    teacher = network(0).train()
    before = copy.deepcopy(teacher.state_dict())
    logits, features = TeacherReader(teacher, ["0", "4", "5"])(images, {"image": images})
    expected = network(0).eval()
    torch.testing.assert_close(logits, expected(images))
    assert [tuple(feature.shape) for feature in features] == [(5, 4, 6, 6), (5, 4, 1, 1), (5, 4)]
    torch.testing.assert_close(features[0], expected[0](images))
    torch.testing.assert_close(features[2], expected[:6](images))
    assert not logits.requires_grad
    assert not any(feature.requires_grad for feature in features)
    assert not any(module.training for module in teacher.modules())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_a_module_that_somebody_put_in_train_mode_is_put_back(images):
    teacher = network(0)
    read = TeacherReader(teacher)
    teacher[1].train()
    torch.testing.assert_close(read(images, {})[0], network(0).eval()(images))


def test_the_temperature_divides_the_logits_and_no_feature(images):
    teacher = network(0).eval()
    logits, features = TeacherReader(teacher, ["0"], temperature=2.5)(images, {})
    torch.testing.assert_close(logits, teacher(images) / 2.5)
    torch.testing.assert_close(features[0], teacher[0](images))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_temperatures_that_are_none_are_refused(temperature):
    with pytest.raises(ValueError, match="it must be positive and finite"):
        TeacherReader(network(0), temperature=temperature)


def test_privileged_items_come_from_the_batch(images):
    teacher = SeesMask().eval()
    batch = {
        "mask": (images > 0).float(),
        "has_mask": torch.tensor([True, False, True, True, False]),
        "id": list("abcde"),
    }
    logits, features = TeacherReader(teacher, ["backbone.0"])(images, batch)
    torch.testing.assert_close(logits, teacher.backbone(images * batch["mask"]) * batch["has_mask"][:, None])
    torch.testing.assert_close(features[0], teacher.backbone[0](images * batch["mask"]))


def test_a_batch_that_lacks_them_is_refused_by_name(images):
    with pytest.raises(ValueError, match="SeesMask wants `has_mask` beside the image; the batch holds image, mask"):
        TeacherReader(SeesMask())(images, {"mask": images, "image": images})


def test_an_ensemble_is_given_the_items_of_its_members(images):
    ensemble = TeacherEnsemble([network(0), SeesMask()]).eval()
    batch = {"mask": torch.ones_like(images), "has_mask": torch.ones(5, dtype=torch.bool)}
    logits, features = TeacherReader(ensemble, ["members.0.0", "members.1.backbone.0"])(images, batch)
    torch.testing.assert_close(logits, ensemble(images, **batch))
    torch.testing.assert_close(features[1], ensemble.members[1].backbone[0](images))


def test_an_inferer_is_used(images):
    teacher = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1))
    got, _ = TeacherReader(teacher, inferer=SlidingWindowInferer((4, 4), sw_batch_size=3, overlap=0))(images, {})
    windows = images.unfold(2, 4, 4).unfold(3, 4, 4)  # the borders of the windows are padded
    torch.testing.assert_close(got[:, :, 4:, :4], teacher(windows[:, :, 1, 0]))


def test_features_of_members_that_take_turns_come_back_in_the_order_of_the_batch(images):
    members = [network(seed).eval() for seed in range(3)]
    teacher = CrossFittedTeacher(members, [{"a", "b"}, {"b", "c"}, {"a", "c"}])
    family = ["b", "a", "v", "c", "a"]  # left out by 2, 1, all, 0, 1
    read = TeacherReader(teacher, ["0", "5"], temperature=2.0)
    logits, features = read(images, {"family": family})
    torch.testing.assert_close(logits, teacher(images, family=family) / 2)
    for place, member in enumerate([2, 1, 0, 0, 1]):  # of the first that does not know it
        alone = images[place : place + 1]
        torch.testing.assert_close(features[0][place : place + 1], members[member][0](alone))
        torch.testing.assert_close(features[1][place : place + 1], members[member][:6](alone))


def test_members_without_a_sample_in_the_batch_do_not_run(images):
    members = [network(seed) for seed in range(2)]
    members[1].register_forward_pre_hook(lambda _module, _inputs: pytest.fail("it knows all of them"))
    teacher = CrossFittedTeacher(members, [{"b"}, {"a"}])
    _, features = TeacherReader(teacher, ["0"])(images, {"family": ["a"] * 5})
    torch.testing.assert_close(features[0], members[0][0](images))


def test_whether_channels_differ_between_samples_is_said():
    assert TeacherReader(CrossFittedTeacher([network(0)], [{"a"}])).channels_differ
    assert not TeacherReader(network(0)).channels_differ


def test_no_hook_is_left_behind(images):
    teacher = CrossFittedTeacher([network(0), network(1)], [{"a"}, {"b"}])
    read = TeacherReader(teacher, ["0"])
    read(images, {"family": ["a", "b", "a", "b", "a"]})
    with pytest.raises(ValueError, match="trained on"):
        TeacherReader(CrossFittedTeacher([teacher.members[0]], [{"a"}]), ["0"])(images, {"family": ["a"] * 5})
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in teacher.modules())


def test_an_unknown_tap_is_refused_at_once():
    with pytest.raises(ValueError, match="no module 'layer9'"):
        TeacherReader(CrossFittedTeacher([network(0)], [{"a"}]), ["layer9"])


def test_tokens_of_oblong_images_are_laid_out_in_their_proportions():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(1, 4, 4, stride=4)
            self.flat = nn.Identity()

        def forward(self, image):
            return self.flat(self.patch(image).flatten(2).transpose(1, 2)).mean(dim=1)

    teacher, image = Tokens(), torch.randn(2, 1, 8, 16)
    _, (feature,) = TeacherReader(teacher, ["flat"], image_shape=(1, 8, 16))(image, {})
    torch.testing.assert_close(feature, teacher.patch(image))
