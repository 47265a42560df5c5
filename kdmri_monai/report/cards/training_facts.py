"""What the files say about the network of a run and its training, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdmri_monai.evaluation.history import History


def training_facts(
    record: Mapping[str, Any],
    config: Mapping[str, Any],
    history: History | None,
    efficiency: Mapping[str, Any] | None,
    classes: Sequence[str],
) -> dict[str, str]:
    """Model, software, training and selection.

    Args:
        record: Content of ``run.json``.
        config: Merged configuration with the overrides of the command line, unparsed.
        history: Numbers of the epochs; ``None`` where there are none.
        efficiency: Section of the evidence; ``None`` where it was not examined.
        classes: Names of the K classes.

    Returns:
        Sentences by name of the fact.
    """
    settings = record.get("settings", {})
    taught = settings.get("teacher_ckpt")
    return {
        "method": _method(settings, taught),
        "goal": "Creation of a model; comparison of training with a teacher and without.",
        "model": _model(settings, config, efficiency, len(classes)),
        "software": _software(record.get("environment", {})),
        "initialisation": _initialisation(settings),
        "training": _training(settings, config, taught),
        "selection": _selection(settings, history),
        "ensembling": "The teachers are an ensemble." if str(taught).startswith("[") else "None.",
        "availability": _availability(record),
    }


def _initialisation(settings: Mapping[str, Any]) -> str:
    pretrained = settings.get("pretrained")
    random = f"PyTorch's random defaults, seed {settings.get('seed')}."
    if not pretrained:
        return random
    head = "its head kept" if pretrained.get("head_kept") else f"its head anew: {random}"
    return f"The weights of {pretrained.get('file')} (SHA-256 {pretrained.get('sha256')}), {head}"


def _method(settings: Mapping[str, Any], taught: Any) -> str:
    how = "by knowledge distillation" if taught else "without a teacher"
    name, size = settings.get("network"), settings.get("parameters", 0)
    return f"Deep learning: {name} of {size:,} parameters, trained {how}; input: {uses(settings)}."


def uses(settings: Mapping[str, Any]) -> str:
    """What the network is given."""
    return str(settings.get("network_uses", "image alone"))


def _model(
    settings: Mapping[str, Any], config: Mapping[str, Any], efficiency: Mapping[str, Any] | None, classes: int
) -> str:
    size = settings.get("image_size")
    words = f"Input 1 x {size} x {size}, 0 to 1; output logits of {classes} classes. "
    words += f"`{definition_words({**config, 'num_classes': classes}, 'network_def')}`"
    if efficiency is None:
        return words + "."
    return words + f"; {efficiency['macs']:,} multiply-accumulates an image, {efficiency['state_bytes']:,} bytes."


def definition_words(config: Mapping[str, Any], name: str) -> str:
    """A network's definition in one line; references such as ``%student_def``, and those to numbers, are followed.

    Args:
        config: Configuration of a run, not executed.
        name: Id of the network.
    """
    found = config.get(name)
    while isinstance(found, str) and found.startswith("%"):
        found = config.get(found[1:])
    if not isinstance(found, Mapping):
        return str(found)
    arguments = ", ".join(f"{key}={_known(config, value)}" for key, value in found.items() if key != "_target_")
    return f"{found.get('_target_')}({arguments})"


def _known(config: Mapping[str, Any], value: Any) -> Any:
    """A number in place of the reference to it; anything else as it is."""
    found = config.get(value[1:]) if isinstance(value, str) and value.startswith("@") else None
    return found if isinstance(found, (int, float)) else value


def _software(environment: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in sorted(environment.get("packages", {}).items()))
    device = environment.get("cuda_device") or f"CPU, {environment.get('threads')} threads"
    return f"Python {environment.get('python')}, {packages}; {environment.get('platform')}; {device}."


def _training(settings: Mapping[str, Any], config: Mapping[str, Any], taught: Any) -> str:
    steps = [str(step.get("_target_", "")).rpartition(".")[2] for step in config.get("augmentations", [])]
    words = (
        f"{settings.get('max_epochs')} epochs of batches of {settings.get('batch_size')}, "
        f"{config.get('optimizer', {}).get('_target_', '').rpartition('.')[2]} with learning rate "
        f"{settings.get('learning_rate')} and weight decay {settings.get('weight_decay')}; "
        f"augmentation: {', '.join(steps) or 'none'}. "
    )
    if not taught and not config.get("terms"):
        return words + "Loss: cross-entropy."
    return words + f"Loss: cross-entropy, {_terms(config.get('terms') or [])}. Teacher: {taught or 'none'}."


def _terms(terms: Sequence[Mapping[str, Any]]) -> str:
    named = [f"{term.get('weight', 1.0)} x {term.get('name') or term.get('term')}" for term in terms]
    return ", ".join(named) or "no further term"


def _selection(settings: Mapping[str, Any], history: History | None) -> str:
    words = "The epoch with the best balanced accuracy on the validation patients, ties by their loss"
    if history is not None:
        best = history.best()
        if best is not None:
            words += f": epoch {history.epochs[best]} of {settings.get('max_epochs')}"
    averaged = settings.get("ema_momentum")
    return words + (f"; weights are a moving average (momentum {averaged})." if averaged else ".")


def _availability(record: Mapping[str, Any]) -> str:
    revision = record.get("git_revision") or "not recorded"
    return f"Code: kdmri_monai, revision {revision}; command: `{' '.join(map(str, record.get('command', [])))}`."
