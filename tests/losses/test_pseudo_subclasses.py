"""Pseudo-subclasses against scikit-learn's PCA and SciPy's divergences, and the head that learns them."""

import numpy as np
import pytest
import torch
from scipy.linalg import null_space
from scipy.special import log_softmax, rel_entr, softmax
from sklearn.decomposition import PCA

from kdmri_monai.losses.pseudo_subclasses import PseudoSubclasses, lelp_loss, subclass_targets
from kdmri_monai.losses.subclass_directions import subclass_directions
from kdmri_monai.losses.terms import DistillationInputs


def teacher_answers(samples=240, width=16, classes=3, seed=0, spread=1.0):
    """Embeddings, logits by the last layer of the teacher, labels, and the weights of that layer."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(width, classes))
    labels = np.arange(samples) % classes
    shape = rng.normal(size=(classes, width, width))
    within = np.einsum("nd,nde->ne", rng.normal(size=(samples, width)), shape[labels])
    embeddings = 5 + 2 * weights.T[labels] + spread * within
    return embeddings, embeddings @ weights + rng.normal(size=classes), labels, weights


def reference_spans(embeddings, labels, weights, subclasses):
    """Section 3.1 of the paper: PCA of every class in the null space of the teacher's last weights."""
    basis = null_space(weights.T)
    models = [PCA(subclasses).fit(embeddings[labels == k] @ basis) for k in range(weights.shape[1])]
    return [model.components_ @ basis.T for model in models], [model.explained_variance_ for model in models]


def reference_targets(embeddings, logits, means, directions, temperature, subclass_temperature):
    p = softmax(logits / temperature, axis=1)
    targets = np.zeros((len(logits), *directions.shape[:2]))
    for b, f in enumerate(embeddings):
        for k in range(p.shape[1]):
            targets[b, k] = p[b, k] * softmax(directions[k] @ (f - means[k]) / subclass_temperature)
    return targets


def tensors(*arrays):
    return tuple(torch.from_numpy(a) for a in arrays)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("subclasses", [2, 4])
def test_directions_span_the_principal_ones_of_every_class_beside_the_logits(classes, subclasses):
    embeddings, logits, labels, weights = teacher_answers(400, classes=classes)
    means, directions = subclass_directions(*tensors(embeddings, logits, labels), subclasses)
    spans, variances = reference_spans(embeddings, labels, weights, subclasses)
    for k in range(classes):
        got = directions[k].double().numpy()
        np.testing.assert_allclose(means[k], embeddings[labels == k].mean(0), rtol=1e-5)
        np.testing.assert_allclose(got @ weights, 0, atol=1e-5)
        np.testing.assert_allclose(got @ got.T, np.eye(subclasses) / variances[k].mean(), atol=1e-5 / variances[k][-1])
        np.testing.assert_allclose(got.T @ got * variances[k].mean(), spans[k].T @ spans[k], atol=1e-4)


def test_the_rotation_shares_the_variance_and_its_mean_is_one():
    embeddings, logits, labels, weights = teacher_answers(600)
    _, directions = subclass_directions(*tensors(embeddings, logits, labels), 4)
    _, variances = reference_spans(embeddings, labels, weights, 4)
    for k in range(3):
        along = (embeddings[labels == k] @ directions[k].double().numpy().T).var(axis=0, ddof=1)
        assert along.mean() == pytest.approx(1.0, rel=1e-4)
        assert along.max() / along.min() < variances[k].max() / variances[k].min()


def test_the_seed_turns_the_directions_within_their_span():
    answers = tensors(*teacher_answers()[:3])
    first, again, other = (subclass_directions(*answers, 3, seed=s)[1] for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 0.01
    torch.testing.assert_close(first.mT @ first, other.mT @ other, atol=1e-5, rtol=1e-4)


def test_the_order_of_the_samples_does_not_matter():
    """Principal directions have no sign of their own, so it has to be set for fits to be repeatable."""
    answers = tensors(*teacher_answers(width=24)[:3])
    expected = subclass_directions(*answers, 8)[1]
    for seed in range(5):
        order = torch.randperm(240, generator=torch.Generator().manual_seed(seed))
        got = subclass_directions(*(a[order] for a in answers), 8)[1]
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-3)


def test_scale_and_place_of_the_embeddings_do_not_matter_to_the_targets():
    embeddings, logits, labels, _ = teacher_answers()
    means, directions = subclass_directions(*tensors(embeddings, logits, labels), 4)
    expected = subclass_targets(*tensors(embeddings, logits), means.double(), directions.double())
    moved = 100 * embeddings - 7
    means, directions = subclass_directions(*tensors(moved, logits, labels), 4)
    got = subclass_targets(*tensors(moved, logits), means.double(), directions.double())
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize(("temperature", "subclass_temperature"), [(1.0, 1.0), (2.0, 0.3)])
def test_targets_equal_the_paper_and_sum_to_the_classes(classes, temperature, subclass_temperature):
    rng = np.random.default_rng(0)
    embeddings, logits = rng.normal(size=(6, 8)), rng.normal(size=(6, classes))
    means, directions = rng.normal(size=(classes, 8)), rng.normal(size=(classes, 4, 8))
    arguments = (embeddings, logits, means, directions)
    got = subclass_targets(*tensors(*arguments), temperature, subclass_temperature).exp().numpy()
    np.testing.assert_allclose(got, reference_targets(*arguments, temperature, subclass_temperature), rtol=1e-9)
    np.testing.assert_allclose(got.sum(2), softmax(logits / temperature, axis=1), rtol=1e-9)
    learning = (t.requires_grad_() for t in tensors(embeddings, logits))
    assert not subclass_targets(*learning, *tensors(means, directions)).requires_grad


@pytest.mark.parametrize(("batch", "classes", "subclasses"), [(1, 2, 2), (8, 3, 4), (5, 10, 3)])
def test_loss_equals_the_divergence_over_all_pseudo_subclasses(batch, classes, subclasses):
    rng = np.random.default_rng(0)
    student, targets = rng.normal(size=(2, batch, classes, subclasses))
    targets = log_softmax(targets.reshape(batch, -1), axis=1).reshape(targets.shape)
    s = softmax(student.reshape(batch, -1), axis=1)
    expected = rel_entr(np.exp(targets).reshape(batch, -1), s).sum(1).mean()
    np.testing.assert_allclose(lelp_loss(*tensors(student, targets)).item(), expected, rtol=1e-9)
    assert lelp_loss(*tensors(targets + 3, targets)).item() == pytest.approx(0.0, abs=1e-12)


def test_gradients_are_right_and_none_reach_the_targets():
    student, targets = (t.requires_grad_() for t in tensors(*np.random.default_rng(0).normal(size=(2, 3, 3, 2))))
    assert torch.autograd.gradcheck(
        lambda s: lelp_loss(s, targets.detach().flatten(1).log_softmax(1).view(3, 3, 2)), student
    )
    lelp_loss(student, targets).backward()
    assert targets.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_values_stay_finite(dtype):
    student = torch.tensor([[[1e4, -1e4], [0.0, 1e4]]], dtype=dtype, requires_grad=True)
    embeddings, logits = torch.tensor([[1e4, -1e4]], dtype=dtype), torch.tensor([[-1e4, 1e4]], dtype=dtype)
    targets = subclass_targets(embeddings, logits, torch.zeros(2, 2), torch.eye(2).expand(2, 2, 2))
    loss = lelp_loss(student, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def built(student=(6,), teacher=(16,), classes=3, **arguments):
    torch.manual_seed(0)
    term = PseudoSubclasses(**arguments)
    term.build([torch.Size(student)], [torch.Size(teacher)], classes)
    return term


def given(student, embeddings, logits, labels):
    return DistillationInputs(torch.zeros(logits.shape), logits, labels, [student], [embeddings])


def float_answers(**arguments):
    embeddings, logits, labels, _ = teacher_answers(**arguments)
    return torch.from_numpy(embeddings).float(), torch.from_numpy(logits).float(), torch.from_numpy(labels)


def test_the_term_is_the_functions_on_maps_and_vectors():
    embeddings, logits, labels = float_answers()
    term = built((6, 3, 3), subclasses=4, temperature=1.5, subclass_temperature=0.7)
    term.fit(embeddings, logits, labels)
    student = torch.randn(240, 6, 3, 3)
    maps = embeddings[:, :, None, None] + torch.tensor([-1.0, 1.0])
    got = term(given(student, maps, logits, labels))
    targets = subclass_targets(embeddings, logits, *subclass_directions(embeddings, logits, labels, 4), 1.5, 0.7)
    head = term.head(student.mean((2, 3))).view(240, 3, 4)
    torch.testing.assert_close(got, lelp_loss(head, targets), rtol=1e-4, atol=1e-5)


def test_it_learns_on_the_student_side_only_and_batch_order_does_not_matter():
    embeddings, logits, labels = float_answers()
    term = built()
    term.fit(embeddings, logits, labels)
    student = torch.randn(240, 6, requires_grad=True)
    embeddings.requires_grad_()
    logits.requires_grad_()
    value = term(given(student, embeddings, logits, labels))
    value.backward()
    assert student.grad is not None
    assert embeddings.grad is None
    assert logits.grad is None
    assert all(p.grad is not None for p in term.parameters())
    order = torch.randperm(240)
    shuffled = given(student[order], embeddings[order], logits[order], labels[order])
    torch.testing.assert_close(term(shuffled), value)


def test_classes_in_another_order_get_the_same_pseudo_subclasses():
    embeddings, logits, labels = float_answers()
    classes = torch.tensor([2, 0, 1])
    means, directions = subclass_directions(embeddings, logits, labels, 4)
    moved = subclass_directions(embeddings, logits[:, classes], classes.argsort()[labels], 4)
    torch.testing.assert_close(moved[0], means[classes])
    torch.testing.assert_close(moved[1], directions[classes], atol=1e-4, rtol=1e-3)


def test_what_was_fitted_travels_with_the_checkpoint():
    embeddings, logits, labels = float_answers()
    term, other = built(), built()
    term.fit(embeddings, logits, labels)
    inputs = given(torch.randn(240, 6), embeddings, logits, labels)
    other.load_state_dict(term.state_dict())
    torch.testing.assert_close(other(inputs), term(inputs))


def test_the_head_learns_groups_within_a_class_that_no_logit_tells():
    """Every class has two hidden groups; the student's features hold the group, its logits' teacher does not."""
    rng = np.random.default_rng(0)
    labels, group = np.arange(240) % 3, (np.arange(240) // 3) % 2
    embeddings = 0.1 * rng.normal(size=(240, 8))
    embeddings[np.arange(240), labels] += 3
    embeddings[:, 5] += 4 * group
    logits = embeddings[:, :3]
    embeddings, logits, labels, group = tensors(embeddings, logits, labels, group)
    embeddings, logits = embeddings.float(), logits.float()
    term = built((5,), (8,), subclasses=2, subclass_temperature=0.2)
    term.fit(embeddings, logits, labels)
    one_hot = torch.nn.functional.one_hot
    inputs = given(torch.cat([one_hot(labels, 3), one_hot(group, 2)], 1).float(), embeddings, logits, labels)
    optimizer = torch.optim.Adam(term.parameters(), 5e-2)
    for _ in range(200):
        optimizer.zero_grad()
        term(inputs).backward()
        optimizer.step()
    answers = term.head(inputs.student_features[0]).view(240, 3, 2)[torch.arange(240), labels].argmax(1)
    for k in range(3):
        agree = (answers == group)[labels == k].float().mean()
        assert max(agree, 1 - agree) > 0.95


def test_it_must_be_built_and_fitted_first():
    embeddings, logits, labels = float_answers()
    with pytest.raises(RuntimeError, match="build must be called"):
        PseudoSubclasses().fit(embeddings, logits, labels)
    with pytest.raises(RuntimeError, match="fit must see the teacher's embeddings of the training set first"):
        built()(given(torch.randn(240, 6), embeddings, logits, labels))
    assert PseudoSubclasses.needs_fit


def test_embeddings_that_cannot_be_split_are_refused():
    embeddings, logits, labels = float_answers(samples=12)
    with pytest.raises(
        ValueError, match=r"4 embeddings of class 0 vary along 3 directions beside the logits, 4 pseudo"
    ):
        subclass_directions(embeddings, logits, labels, 4)
    with pytest.raises(ValueError, match="0 embeddings of class 2 vary along 0 directions"):
        subclass_directions(embeddings[labels < 2], logits[labels < 2], labels[labels < 2], 2)
    narrow = logits + 0.0
    with pytest.raises(ValueError, match="vary along 0 directions beside the logits"):
        subclass_directions(narrow, logits, labels, 2)


def test_wrong_input_is_told():
    embeddings, logits, labels = float_answers()
    with pytest.raises(ValueError, match=r"embeddings \(240, 16\) and logits \(100, 3\) must be \(N, D\) and \(N, K\)"):
        subclass_directions(embeddings, logits[:100], labels, 2)
    with pytest.raises(ValueError, match=r"labels are \(10,\)"):
        subclass_directions(embeddings, logits, labels[:10], 2)
    with pytest.raises(ValueError, match="1 pseudo-subclasses split nothing: give at least 2"):
        subclass_directions(embeddings, logits, labels, 1)
    with pytest.raises(ValueError, match="1 pseudo-subclasses split nothing"):
        PseudoSubclasses(subclasses=1)
    with pytest.raises(ValueError, match="temperature is 0, it must be positive"):
        PseudoSubclasses(subclass_temperature=0)
    with pytest.raises(ValueError, match=r"\(3, 8\) classes and channels and is fitted to \(3, 16\)"):
        built(teacher=(8,)).fit(embeddings, logits, labels)
    with pytest.raises(ValueError, match=r"one student tap and one teacher tap, their embeddings; got \[\] and"):
        PseudoSubclasses().build([], [torch.Size([4])], 3)
    with pytest.raises(ValueError, match=r"student logits \(2, 3\) and targets \(2, 3, 2\) must both be \(B, K, S\)"):
        lelp_loss(torch.zeros(2, 3), torch.zeros(2, 3, 2))
