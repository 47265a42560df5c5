"""``MODEL_CARD.md`` and ``CLAIM.md`` of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.report.cards.claim_items import CLAIM_ITEMS, ClaimItem
from kdmri_monai.report.cards.data_facts import UNKNOWN
from kdmri_monai.report.cards.result_facts import MEASURES, NOT_EXAMINED, percent
from kdmri_monai.report.cards.run_facts import RunFacts

CARD, CHECKLIST = "MODEL_CARD.md", "CLAIM.md"
CONTROLS = ("network_controls", "source_probe", "data_controls")
AUTHORS = "*To be stated by the authors.*"


def write_documents(run: RunFacts, out: Path) -> list[Path]:
    """Writes the model card and the checklist.

    Args:
        run: From ``run_facts``.
        out: Folder; files of these names are replaced.

    Returns:
        The two files.

    Raises:
        OSError: They cannot be written.
    """
    texts = {CARD: model_card(run), CHECKLIST: claim_checklist(run)}
    for name, text in texts.items():
        write_atomically(out / name, text.encode())
    return [out / name for name in texts]


def model_card(run: RunFacts) -> str:
    """The model card, Markdown."""
    controls = [row for name in CONTROLS for row in run.sections.get(name, {}).get("rows", [])]
    return _rendered(
        "model_card.md.j2",
        run=run,
        facts=run.facts,
        metrics=run.metrics,
        measures=MEASURES,
        controls=controls,
        percent=percent,
        verdict=verdict,
        not_examined=NOT_EXAMINED,
    )


def claim_checklist(run: RunFacts) -> str:
    """The checklist, Markdown."""

    def answer(item: ClaimItem) -> str:
        said = run.facts[item.fact] if item.fact else UNKNOWN
        return AUTHORS if said == UNKNOWN else said.replace("|", "\\|")

    answered = sum(answer(item) != AUTHORS for item in CLAIM_ITEMS)

    return _rendered("claim.md.j2", run=run, items=CLAIM_ITEMS, answer=answer, answered=answered)


def verdict(row: Mapping[str, Any]) -> str:
    """What a control says, in a word or two."""
    caught = row.get("caught")
    return "says nothing by itself" if caught is None else "above chance" if caught else "not above chance"


def _rendered(template: str, **content: Any) -> str:
    environment = Environment(
        loader=PackageLoader("kdmri_monai.report"),
        undefined=StrictUndefined,
        autoescape=False,  # Markdown, not HTML
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**content)
