"""Texts without the folders of the machine that they were written on."""

import re

ABSOLUTE = re.compile(r"(?<![\w./:>-])(?:[A-Za-z]:)?[\\/](?:[^\s\\/'\"`,;()|]+[\\/])*([^\s\\/'\"`,;()|]+)")
"""A path from the root on; its last part is the group."""


def without_folders(text: str) -> str:
    """A text in which every absolute path is its last part alone: who trained, and where, is nobody else's business.

    Addresses of the web, relative paths, fractions and identifiers such as a DOI stay as they are.

    Args:
        text: Prose, Markdown, a command line or JSON.
    """
    return ABSOLUTE.sub(lambda found: found[1], text)
