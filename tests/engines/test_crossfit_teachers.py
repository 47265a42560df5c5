"""Teachers that take turns: no sample is answered by a member that learned from its family."""

import json

import pytest
import torch
from torch import nn

from kdmri_monai.data.crossfit import crossfit_datalists
from kdmri_monai.data.datalist import read_datalist
from kdmri_monai.data.errors import LeakageError
from kdmri_monai.engines.crossfit import CrossFittedTeacher, load_crossfitted
from kdmri_monai.engines.run_record import start_run

LEARNED = ({"a", "b"}, {"b", "c"}, {"a", "c"})  # c, a and b are left out


def network(seed, classes=3):
    torch.manual_seed(seed)
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4, classes)).eval()


@pytest.fixture
def members():
    return [network(seed) for seed in range(3)]


@pytest.fixture
def images():
    return torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(7))


def test_every_sample_is_answered_by_the_member_that_does_not_know_it(members, images):
    family = ["a", "c", "b", "a", "c", "c"]
    got = CrossFittedTeacher(members, LEARNED)(images, family=family)
    held_out = {"c": 0, "a": 1, "b": 2}
    alone = torch.cat([members[held_out[name]](image[None]) for name, image in zip(family, images, strict=True)])
    torch.testing.assert_close(got.softmax(1), alone.softmax(1))
    torch.testing.assert_close((got / 3).softmax(1), (alone / 3).softmax(1))  # as logits, at any temperature


def test_a_family_that_nobody_knows_is_answered_by_the_mean_of_all(members, images):
    got = CrossFittedTeacher(members, LEARNED)(images, family=["v"] * 6)
    mean = torch.stack([member(images).softmax(1) for member in members]).mean(dim=0)
    torch.testing.assert_close(got, mean.log())


def test_members_that_share_a_left_out_family_share_the_answer(members, images):
    got = CrossFittedTeacher(members, ({"a"}, {"b"}, {"b"}))(images, family=["a", "b", "a", "b", "v", "a"])
    both = torch.stack([member(images).softmax(1) for member in members])
    torch.testing.assert_close(got.exp()[[0, 2, 5]], both[1:].mean(dim=0)[[0, 2, 5]])
    torch.testing.assert_close(got.exp()[[1, 3]], both[0, [1, 3]])


def test_the_order_of_the_batch_does_not_matter(members, images):
    teacher = CrossFittedTeacher(members, LEARNED)
    family, order = ["a", "c", "b", "v", "c", "b"], torch.tensor([4, 2, 0, 5, 1, 3])
    torch.testing.assert_close(
        teacher(images[order], family=[family[place] for place in order]), teacher(images, family=family)[order]
    )


def test_a_member_is_never_shown_a_sample_that_it_learned_from(members, images):
    shown = []
    members[0].register_forward_pre_hook(lambda _module, inputs: shown.append(inputs[0]))
    CrossFittedTeacher(members, LEARNED)(images, family=["a", "c", "b", "a", "c", "v"])
    torch.testing.assert_close(torch.cat(shown), images[[1, 4, 5]])


def test_a_family_that_every_member_learned_from_is_named(members, images):
    teacher = CrossFittedTeacher(members, [{"a", "z"}, {"z", "b"}, {"z"}])
    with pytest.raises(ValueError, match=r"every member of the cross-fitted teacher was trained on z$"):
        teacher(images, family=["a", "z", "b", "a", "b", "z"])
    with pytest.raises(ValueError, match="5 families for 6 images"):
        teacher(images, family=["a"] * 5)


def test_what_members_want_is_shared_out_with_the_images(images):
    class WantsMask(nn.Module):
        privileged_keys = ("mask", "id")

        def __init__(self, sign):
            super().__init__()
            self.sign = sign

        def forward(self, image, mask, id):
            assert len(id) == len(mask) == len(image)
            return self.sign * torch.stack([mask.sum((1, 2, 3)), torch.tensor([float(name) for name in id])], dim=1)

    teacher = CrossFittedTeacher([WantsMask(1.0), WantsMask(-1.0)], [{"a"}, {"b"}])
    assert teacher.privileged_keys == ("family", "mask", "id")
    mask = torch.arange(6.0).view(6, 1, 1, 1)
    got = teacher(images, family=["a", "b"] * 3, mask=mask, id=["1", "2", "3", "4", "5", "6"])
    logits = torch.stack([torch.arange(6.0), torch.arange(1.0, 7.0)], dim=1) * torch.tensor([-1.0, 1.0] * 3)[:, None]
    torch.testing.assert_close(got, logits.log_softmax(1))
    with pytest.raises(ValueError, match="WantsMask wants id beside the image"):
        teacher(images, family=["a", "b"] * 3, mask=mask)


def test_half_precision_gives_probabilities_in_float32(members, images):
    teacher = CrossFittedTeacher([member.bfloat16() for member in members], LEARNED)
    got = teacher(images.bfloat16(), family=["a", "b", "c", "v", "a", "b"])
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.exp().sum(1), torch.ones(6))


def test_each_member_has_its_families(members):
    with pytest.raises(ValueError, match="3 members and 2 sets of training families"):
        CrossFittedTeacher(members, LEARNED[:2])
    with pytest.raises(ValueError, match="0 members"):
        CrossFittedTeacher([], [])


def entry(number, patient, label, family=None):
    return {
        "image": f"images.npy#{number}",
        "label": label,
        "patient": patient,
        "family": family or patient,
        "id": str(number),
        "source": f"{number}.mat",
        "patient_source": "cjdata/PID",
        "size": [64, 64],
        "sha256": f"{number:064x}",
    }


@pytest.fixture
def datalist(tmp_path):
    training = [entry(n, f"{n // 2:03d}", n // 2 % 3) for n in range(36)] + [entry(60, "MR1A", 1, "MR1")]
    splits = {"training": training, "validation": [entry(70, "200", 2)], "test": [entry(80, "MR2B", 1, "MR2")]}
    counts = {f"num{split.capitalize()}": len(entries) for split, entries in splits.items()}
    head = {"format": "kdmri-datalist-1", "numClasses": 3, "group_rule": "family"}
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({**head, **counts, **splits}))
    return path


@pytest.fixture
def checkpoints(datalist, tmp_path):
    """Runs as the bundle leaves them, one for every part."""
    paths = []
    for part, name in enumerate(crossfit_datalists(datalist)):
        folder = start_run(tmp_path / f"run{part}", {"image_size": 64}, name)
        torch.save(network(part).state_dict(), folder / "model.pt")
        paths.append(folder / "model.pt")
    return paths


def test_loaded_members_answer_the_part_that_they_left_out(datalist, checkpoints, images):
    teacher = load_crossfitted(network(9), checkpoints, datalist, image_size=64)
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    for part, name in enumerate(crossfit_datalists(datalist)):
        left_out = [item["family"] for item in read_datalist(name)["test"]][:6]
        torch.testing.assert_close(
            teacher(images, family=left_out), network(part)(images).log_softmax(1), atol=1e-6, rtol=1e-5
        )


def test_members_that_do_not_say_what_they_learned_from_are_refused(datalist, checkpoints):
    checkpoints[1].with_name("run.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"run1/model\.pt has no run.json beside it"):
        load_crossfitted(network(9), checkpoints, datalist)


def test_a_family_without_a_member_is_found_before_training(datalist, checkpoints):
    with pytest.raises(ValueError, match=r"every member of the cross-fitted teacher was trained on .* and \d+ more"):
        load_crossfitted(network(9), checkpoints[:2], datalist)


def test_every_member_is_asked_whether_it_knows_the_test_patients(datalist, checkpoints):
    record = checkpoints[2].with_name("run.json")
    facts = json.loads(record.read_text())
    facts["data"]["training_families"].append("MR2")
    record.write_text(json.dumps(facts))
    with pytest.raises(LeakageError, match=r"run2/model.pt was trained on 1 patient families .* MR2"):
        load_crossfitted(network(9), checkpoints, datalist)


def test_a_family_is_known_under_the_name_of_its_patient_too(datalist, checkpoints):
    """Merged families bear one name in one datalist and another in the next."""
    for path in checkpoints:
        record = path.with_name("run.json")
        facts = json.loads(record.read_text())
        learned = [name for name in facts["data"]["training_families"] if name != "MR1"]
        facts["data"]["training_families"] = [*learned, "MR1"] if "run0" in str(path) else learned
        record.write_text(json.dumps(facts))
    content = json.loads(datalist.read_text())
    content["training"][-1]["family"] = "merged"
    datalist.write_text(json.dumps(content))
    teacher = load_crossfitted(network(9), checkpoints, datalist)
    assert teacher.turns(["merged"]) == [[], [0], [0]]
