"""The texts of a packed bundle: README, model card, licences."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from kdmri_monai.evaluation.folds_estimate import SPLIT as FOLDS
from kdmri_monai.evaluation.run_folder import RunFolder
from kdmri_monai.report.cards.documents import model_card
from kdmri_monai.report.cards.result_facts import percent
from kdmri_monai.report.cards.run_facts import run_facts
from kdmri_monai.sharing.exports import ONNX, PROGRAM, SAFETENSORS, SCRIPT, STATE
from kdmri_monai.sharing.local_paths import without_folders
from kdmri_monai.sharing.pack_options import FIGSHARE
from kdmri_monai.sharing.packed_configs import PackedNetwork
from kdmri_monai.sharing.packed_metadata import MEASURES, PackedFacts, needed
from kdmri_monai.sharing.packed_network import needs_package
from kdmri_monai.sharing.parity import BATCHES, TOLERANCE

DESCRIPTIONS = {
    STATE: "state dict, opens with `weights_only=True`",
    SAFETENSORS: "the same as safetensors",
    SCRIPT: "TorchScript with metadata and configuration",
    ONNX: "ONNX, free batch size, input `image`, output `pred`",
    PROGRAM: "`torch.export`, free batch size",
    "trust.safetensors": "what the training data looked like, for `kdmri predict`: means and a covariance, no slices",
}
UNSTATED = b"Who packed this bundle did not state the licence of the data that the network was trained on.\n"


def licences(given: str | None) -> dict[str, bytes]:
    """``LICENSE`` and ``docs/data_license.txt``.

    Args:
        given: A file with the licence of the training data, or ``FIGSHARE``. It is not guessed: phantoms come in the
            published form too.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if given is None:
        text = UNSTATED
    else:
        text = _template("figshare_license.txt") if given == FIGSHARE else Path(given).read_bytes()
    return {"LICENSE": _template("LICENSE"), "docs/data_license.txt": text}


def card(run: Path, name: str) -> str | None:
    """The model card of a run without folders of the machine; ``None`` where its evaluation or its data is missing."""
    try:
        split = "test" if RunFolder(run).metrics("test") else FOLDS
        return without_folders(model_card(replace(run_facts(run, split), name=name)))
    except (OSError, ValueError):
        return None


def readme(
    student: PackedNetwork,
    facts: PackedFacts,
    forms: Mapping[str, bytes],
    gaps: Mapping[str, float],
    *,
    program: bool,
    labelled: bool,
    signed: bool,
    has_card: bool,
) -> str:
    """``docs/README.md``.

    Args:
        student: Network, sizes, temperature, classes.
        facts: What is known of the run.
        forms: Content by file name of ``models/``.
        gaps: Largest difference of a probability by form.
        program: Whether the network is the exported program.
        labelled: Whether the synthetic slices have labels.
        signed: Whether the manifest is signed.
        has_card: Whether there is a model card.
    """
    environment = Environment(
        loader=PackageLoader("kdmri_monai.sharing"),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    text: str = environment.get_template("packed_readme.md.j2").render(
        student=student,
        facts=facts,
        metrics=facts.metrics,
        measures=[name for name in MEASURES if name in (facts.metrics or {}).get("slices", {})],
        percent=percent,
        sizes={name: f"{len(content) / 1e6:.2f} MB" for name, content in forms.items()},
        descriptions=DESCRIPTIONS,
        gaps=gaps,
        batches=BATCHES,
        tolerance=f"{TOLERANCE:.0e}",
        versions={
            "monai": version("monai"),
            "torch": version("torch").partition("+")[0],
            "others": {name: version(name) for name in needed(student)},
        },
        program=program,
        own=needs_package(student.definition),
        labelled=labelled,
        signed=signed,
        has_card=has_card,
    )
    return text


def logging_config() -> bytes:
    """``configs/logging.conf``: what MONAI writes to the terminal."""
    return _template("logging.conf")


def _template(name: str) -> bytes:
    return (files("kdmri_monai.sharing") / "templates" / name).read_bytes()
