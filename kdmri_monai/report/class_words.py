"""What a set of classes asks of a network, in sentences; those of the three tumours are not said of other classes."""

from collections.abc import Sequence

from kdmri_monai.data.taxonomy import CLASSES

_HOSPITALS = "Intervals are those of other patients of the same hospitals; nothing is known of other hospitals."


def title(classes: Sequence[str]) -> str:
    """Of a report on networks of these classes."""
    return f"Knowledge distillation on {_images(classes)}"


def forced_choice(classes: Sequence[str]) -> str:
    """That every image is given one of the classes.

    Args:
        classes: Names of the K classes.
    """
    if tuple(classes) == CLASSES:
        return "There is no class for a healthy scan or for another disease: every image is given one of three tumours."
    return f"Every image is given one of {len(classes)} classes ({', '.join(classes)}), whatever it shows."


def intended_use(classes: Sequence[str]) -> str:
    """What a network of these classes is for."""
    choice = forced_choice(classes)
    return (
        f"Research on knowledge distillation for {_images(classes)}. Not for diagnosis: {choice[0].lower()}{choice[1:]}"
    )


def limitations(classes: Sequence[str]) -> str:
    """What a network of these classes cannot do, and what is known of its data."""
    if tuple(classes) == CLASSES:
        own = (
            "No class for a healthy scan or for any other tumour. Single slices of one sequence (contrast-enhanced "
            "T1). In the Figshare set the form of the patient id goes with the class, so a network may read the source "
            "of an image in place of the tumour; the shortcut controls of the report measure how far."
        )
    else:
        own = (
            f"{forced_choice(classes)} Single slices. The source of an image may go with its class in any data set; "
            "the shortcut controls of the report measure what can be told without a tumour, where there are masks."
        )
    return f"{own} {_HOSPITALS}"


def _images(classes: Sequence[str]) -> str:
    return "brain-tumour MRI" if tuple(classes) == CLASSES else "brain MRI"
