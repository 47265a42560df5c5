"""Which patient ids belong to one person.

Differs from the publisher's folds: those keep an id together, but ids such as ``MR024780B`` and ``MR024780G``, which
differ in a trailing letter only and may be one patient scanned again, may fall on two sides.
"""

import re
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from kdmri_monai.data.records import SliceRecord

_SCANNED_AGAIN = re.compile(r"(?<=[0-9])[A-Za-z]$")
_KIND = re.compile(r"[A-Za-z]*")


def patient_family(patient: str) -> str:
    """The id without the letter that marks a further scan of the same patient.

    In the Figshare set 40 of the 67 ids that begin with ``MR`` differ from another in a trailing letter only. Slices
    of one person are near-copies of one another, so such ids must stay together: the letter is stripped where the id
    ends with a digit and one letter, ``MR024780B`` to ``MR024780``. Every other id stays as it is: ``100360``,
    ``MR024780``, ``caseAB``.

    Args:
        patient: Patient id as the source spells it.

    Returns:
        Name of the family.
    """
    return _SCANNED_AGAIN.sub("", patient)


def id_kind(patient: str) -> str:
    """Letters that a patient id begins with, ``MR`` or nothing in the Figshare set.

    There the kind of the id is a shortcut: all ``MR`` patients have a glioma.

    Args:
        patient: Patient id as the source spells it.

    Returns:
        The letters, possibly none.
    """
    match = _KIND.match(patient)
    return match.group() if match else ""


def merge_patients(links: Iterable[tuple[str, Hashable]]) -> dict[str, str]:
    """Families of patients that share anything, over any number of steps.

    Args:
        links: Pairs of a patient and something that only one person can have (a digest of an image, say). Patients
            of one ``patient_family`` are linked in any case.

    Returns:
        Patient to family; a family bears the smallest ``patient_family`` among its patients.
    """
    from scipy.sparse import coo_array  # here: workers that read archives start without SciPy
    from scipy.sparse.csgraph import connected_components

    pairs = {(patient, link) for patient, key in links for link in (("family", patient_family(patient)), key)}
    patients = sorted({patient for patient, _ in pairs})
    if not patients:
        return {}
    number = {patient: i for i, patient in enumerate(patients)}
    keys: dict[Hashable, int] = {}
    edges = np.array([(number[patient], len(patients) + keys.setdefault(key, len(keys))) for patient, key in pairs])
    size = len(patients) + len(keys)
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(size, size))
    component = connected_components(graph, directed=False)[1]
    names: dict[int, str] = {}
    for patient in patients:
        place, name = int(component[number[patient]]), patient_family(patient)
        names[place] = min(names.get(place, name), name)
    return {patient: names[int(component[number[patient]])] for patient in patients}


def group_families(records: Sequence[SliceRecord]) -> dict[str, str]:
    """Families of the patients of a data set.

    Args:
        records: Slices as the image store holds them.

    Returns:
        Patient to family: ``patient_family``, and patients that share a bit-identical stored image are one family,
        over any number of steps, under the smallest of their names.
    """
    return merge_patients((record.patient, ("image", record.sha256)) for record in records)
