"""A run's student as a bundle for other laboratories: ``NAME.zip``, the same bytes every time."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.engines.configured import image_steps
from kdmri_monai.engines.run_config import run_config
from kdmri_monai.engines.run_student import RunStudent, run_student
from kdmri_monai.evaluation.folds_estimate import SPLIT as FOLDS
from kdmri_monai.evaluation.prediction_pictures import check_takes_image_alone
from kdmri_monai.evaluation.run_folder import RunFolder
from kdmri_monai.evaluation.run_temperature import RunTemperature
from kdmri_monai.networks.weights import load_weights
from kdmri_monai.sharing.canonical_zip import zip_bytes
from kdmri_monai.sharing.exports import FORMS, SCRIPT, STATE, export_forms, with_texts
from kdmri_monai.sharing.manifest import MANIFEST, SIGNATURE, build_manifest
from kdmri_monai.sharing.pack_options import FIGSHARE, NAME, Packed, PackError, PackOptions
from kdmri_monai.sharing.packed_configs import PackedNetwork, evaluation_config, inference_config
from kdmri_monai.sharing.packed_documents import card, licences, logging_config, readme
from kdmri_monai.sharing.packed_metadata import PackedFacts, metadata
from kdmri_monai.sharing.packed_network import PROGRAM, needs_package, stock_definition
from kdmri_monai.sharing.parity import check_parity, parity
from kdmri_monai.sharing.signature import sign
from kdmri_monai.sharing.smoke import smoke_files, smoke_images
from kdmri_monai.sharing.trust import FILE as TRUST
from kdmri_monai.sharing.trust import run_trust

SCRIPT_TEXTS = ("metadata.json", "inference.json")
"""What the TorchScript form carries inside, as MONAI's ``ckpt_export`` writes it."""


def pack(
    run: Path, out: Path, options: PackOptions | None = None, progress: Callable[[str], None] = lambda step: None
) -> Packed:
    """Packs the student of a run.

    Args:
        run: Folder of a finished run of the bundle; what its configuration names is run.
        out: ``NAME.zip``, written or replaced when everything else has succeeded.
        options: Choices.
        progress: Told of every step.

    Raises:
        FileNotFoundError: A file of the run is missing.
        PackError: A name that is not allowed, or a folder that is no finished run.
        NotStockError: Its receivers cannot build the network, and no program was asked for.
        ExportError: The network cannot be written in one of the forms.
        ParityError: A form says something else than the network.
        ValueError: The network wants more than the image, or weights that are not its own; a key that cannot be used.
    """
    options, name = options or PackOptions(), out.stem
    if out.suffix != ".zip" or not NAME.fullmatch(name):
        raise PackError(f"{out.name} is no name for a bundle: letters, digits, '_', '-' and '.', then .zip")
    record, opened = RunFolder(run), _opened(run)
    progress("temperature, from the validation patients")
    temperature = RunTemperature(run)
    student = _described(run, opened.student, temperature.value, options)
    facts = _facts(name, record, options, temperature.origin)
    progress("what the training data looked like")
    trust, told = _trust(run)
    progress(f"forms: {', '.join(options.forms)}")
    forms, gaps = _forms(opened, student, options)
    configs = _configs(student, facts, gaps)
    if SCRIPT in forms:
        forms[SCRIPT] = with_texts(forms[SCRIPT], {name: configs[name] for name in SCRIPT_TEXTS})
    files = _files(run, opened, student, facts, {**forms, **trust}, gaps, configs, options)
    progress("manifest")
    manifest = build_manifest(name, files)
    files[MANIFEST] = manifest
    if options.key is not None:
        files[SIGNATURE] = sign(manifest, options.key)
    write_atomically(out, zip_bytes({f"{name}/{path}": content for path, content in files.items()}))
    sizes = {path: len(content) for path, content in files.items()}
    remarks = _remarks(record, files, options, student.definition)
    return Packed(out, sizes, gaps, student.temperature, temperature.origin, told, remarks)


@dataclass(frozen=True, eq=False)
class _Opened:
    """A student, its configuration, the synthetic slices as it takes them."""

    student: RunStudent
    network: nn.Module
    images: Tensor


def _opened(run: Path) -> _Opened:
    if not (run / STATE).is_file():
        raise FileNotFoundError(f"{run} has no {STATE}: the run has not finished an epoch")
    if not (run / "config.json").is_file():
        raise PackError(f"{run} has no config.json: it was not trained by python -m monai.bundle run")
    student = run_student(run, ())
    check_takes_image_alone(student.network)
    network = load_weights(student.network, run / STATE).eval()
    return _Opened(student, network, smoke_images(image_steps(student.config, student.image_size), student.store_size))


def _described(run: Path, student: RunStudent, temperature: float, options: PackOptions) -> PackedNetwork:
    found = PROGRAM if options.program else stock_definition(run_config(run), with_package=options.with_package)
    definition = dict(found)
    return PackedNetwork(definition, student.image_size, student.store_size, temperature, student.classes)


def _facts(name: str, record: RunFolder, options: PackOptions, calibration: str) -> PackedFacts:
    source = _source(record)
    words = source.get("name") or "unknown: the datalist of the run is not where it was"
    return PackedFacts(
        name=name,
        version=options.version,
        changes=options.changes,
        metrics=record.metrics("test") or record.metrics(FOLDS),
        of_folds=record.metrics("test") is None,
        calibration=calibration,
        data=record.record.get("data") or {},
        source=f"{words} ({source['kind']})" if "kind" in source else words,
        revision=record.record.get("git_revision"),
        settings=record.record.get("settings") or {},
        published=options.data_license == FIGSHARE,
        authors=options.authors,
    )


def _source(record: RunFolder) -> Mapping[str, Any]:
    path = Path(str((record.record.get("data") or {}).get("datalist", "")))
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    found = content.get("source") if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


def _trust(run: Path) -> tuple[dict[str, bytes], str]:
    profile, told = run_trust(run)
    if profile is None:
        return {}, f"none: {told}"
    with tempfile.TemporaryDirectory() as folder:
        profile.save(Path(folder) / TRUST)
        return {TRUST: (Path(folder) / TRUST).read_bytes()}, "fitted on training and validation slices"


def _configs(student: PackedNetwork, facts: PackedFacts, gaps: Mapping[str, float]) -> dict[str, bytes]:
    trees = {
        "metadata.json": metadata(student, facts, gaps),
        "inference.json": inference_config(student),
        "evaluate.json": evaluation_config(student.classes),
    }
    written = {name: (json.dumps(tree, indent=4, ensure_ascii=False) + "\n").encode() for name, tree in trees.items()}
    return {**written, "logging.conf": logging_config()}


def _forms(opened: _Opened, student: PackedNetwork, options: PackOptions) -> tuple[dict[str, bytes], dict[str, float]]:
    wanted = {STATE, *options.forms, *((SCRIPT,) if options.program else ())}
    forms = export_forms(opened.network, opened.student.image_shape, [form for form in FORMS if form in wanted])
    gaps = parity(opened.network, forms, opened.images, student.temperature)
    check_parity(gaps)
    return forms, gaps


def _files(
    run: Path,
    opened: _Opened,
    student: PackedNetwork,
    facts: PackedFacts,
    models: Mapping[str, bytes],
    gaps: Mapping[str, float],
    configs: Mapping[str, bytes],
    options: PackOptions,
) -> dict[str, bytes]:
    """Everything but the manifest, by path inside the bundle."""
    labelled, described = tuple(student.classes) == CLASSES, card(run, facts.name)
    flags = {"program": options.program, "signed": options.key is not None, "has_card": described is not None}
    text = readme(student, facts, models, gaps, labelled=labelled, **flags)
    with torch.no_grad():
        probabilities = (opened.network(opened.images).double() / student.temperature).softmax(dim=1)
    smoke = smoke_files(probabilities, student.classes, labelled)
    return {
        **licences(options.data_license),
        **{f"configs/{name}": content for name, content in configs.items()},
        **{f"models/{name}": content for name, content in models.items()},
        **smoke,
        "docs/README.md": text.encode(),
        **({} if described is None else {"docs/model_card.md": described.encode()}),
    }


def _remarks(
    record: RunFolder, files: Mapping[str, bytes], options: PackOptions, definition: Mapping[str, Any]
) -> tuple[str, ...]:
    told = []
    if record.metrics("test") is None and record.metrics(FOLDS) is None:
        told.append("the run was not evaluated: the bundle states no performance")
    if options.data_license is None:
        told.append("the licence of the training data is not stated: --data-license FILE, or figshare")
    if (largest := max(map(len, files.values()))) > 25e6:
        told.append(f"the largest file has {largest / 1e6:.0f} MB; the model zoo keeps files above 25 MB elsewhere")
    if options.program:
        told.append("the network is a program, models/model.ts: an audit does not clear it")
    if needs_package(definition):
        told.append("the network is one of this package: MONAI alone cannot build it and runs the exported forms only")
    return tuple(told)
