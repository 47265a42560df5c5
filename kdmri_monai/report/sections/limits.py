"""What the page does not say."""

from kdmri_monai.report.class_words import forced_choice
from kdmri_monai.report.material import Material
from kdmri_monai.report.page_model import Section, Text

ALWAYS = (
    "For research only, not for diagnosis.",
    "Intervals are those of other patients like these, for the networks that were trained here. What another seed or "
    "another fold would change is seen from the runs side by side, not from the intervals.",
    "With a dozen families a class in one fold, 95 % intervals of a single class cover less often than they say "
    "(benchmarks/interval_coverage.py).",
    "Many numbers are shown; p values are adjusted within the table of arms alone.",
    "Grad-CAM weighs features, not places; that erasing the tumour changes the answer is the stronger evidence.",
)


def section(material: Material) -> Section:
    """Limits of every report, and those of this one."""
    own = []
    families = len(set(material.table.family.tolist()))
    if families < 60:
        own.append(f"Only {families} families were tested: differences of a few points cannot be told from none.")
    few = [one.name for one in material.members if len(one.arm.seeds) < 3 and one.role != "teacher"]
    if few:
        own.append(f"Fewer than three seeds: {', '.join(few)}.")
    if len({run.fold for one in material.members for run in one.runs}) == 1:
        own.append("One fold: other test patients may order the arms otherwise.")
    sentences = (*own, forced_choice(material.table.classes), *ALWAYS)
    return Section("limits", "Limits", "", tuple(Text(words) for words in sentences))
