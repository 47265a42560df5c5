"""The 42 items of CLAIM in short, and which fact of a run speaks to each.

Source: Mongan, Moy and Kahn, "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): a guide for authors and
reviewers", Radiology: Artificial Intelligence 2020, doi 10.1148/ryai.2020200029; the wording here is ours, the numbers
are theirs. The update of 2024 (Tejani et al., Radiology: Artificial Intelligence) changes some items; ask your journal.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClaimItem:
    """One item.

    Attributes:
        number: 1..42.
        part: Part of the paper.
        asks: What is to be stated.
        fact: Name of the fact of ``run_facts`` that answers; empty where only the authors can.
    """

    number: int
    part: str
    asks: str
    fact: str = ""


_PARTS = {
    "Title and abstract": (
        ("Named as a study of AI, with the kind of method", "method"),
        ("Structured summary of design, methods, results and conclusions", ""),
    ),
    "Introduction": (
        ("Background, intended use and clinical role", "intended_use"),
        ("Objectives and hypotheses", ""),
    ),
    "Methods: study design": (
        ("Prospective or retrospective", "design"),
        ("Goal of the study", "goal"),
    ),
    "Methods: data": (
        ("Sources of the data", "sources"),
        ("Eligibility: how, where and when cases were found", "eligibility"),
        ("Steps of pre-processing", "preprocessing"),
        ("Selection of subsets", "subsets"),
        ("Definitions of data elements", "elements"),
        ("De-identification", "deidentification"),
        ("Missing data", "missing"),
    ),
    "Methods: ground truth": (
        ("Definition of the reference standard", "reference_standard"),
        ("Why this reference standard", ""),
        ("Who annotated, with what qualification", "annotators"),
        ("Tools of annotation", ""),
        ("Variability between and within annotators", "annotator_variability"),
    ),
    "Methods: data partitions": (
        ("Sample size and how it was chosen", "sample_size"),
        ("How cases were assigned to partitions", "partitions"),
        ("Level at which partitions are disjoint", "disjoint"),
    ),
    "Methods: model": (
        ("The model: inputs, outputs, layers", "model"),
        ("Software", "software"),
        ("Initial values of the parameters", "initialisation"),
    ),
    "Methods: training": (
        ("Training: augmentation, hyper-parameters, number of models", "training"),
        ("How the final model was chosen", "selection"),
        ("Ensembling", "ensembling"),
    ),
    "Methods: evaluation": (
        ("Metrics of performance", "metrics"),
        ("Significance and uncertainty", "uncertainty"),
        ("Robustness or sensitivity", "robustness"),
        ("Explainability", "explainability"),
        ("Test on external data", "external"),
    ),
    "Results: data": (
        ("Flow of participants", "flow"),
        ("Characteristics of the cases in each partition", "characteristics"),
    ),
    "Results: performance": (
        ("Performance on all partitions", "performance"),
        ("Diagnostic accuracy with its precision", "accuracy"),
        ("Analysis of failures", "failures"),
    ),
    "Discussion": (
        ("Limitations, bias, uncertainty, generalisability", "limitations"),
        ("Implications for practice", ""),
    ),
    "Other information": (
        ("Registration", ""),
        ("Where the protocol, the code and the data are", "availability"),
        ("Funding and the role of funders", ""),
    ),
}

CLAIM_ITEMS = tuple(
    ClaimItem(number, part, asks, fact)
    for number, (part, asks, fact) in enumerate(
        ((part, asks, fact) for part, items in _PARTS.items() for asks, fact in items), start=1
    )
)
