"""SVG that may stand in a page: drawing only, nothing that runs and nothing from elsewhere."""

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

_SHAPES = "svg g defs use symbol path rect circle ellipse line polyline polygon text tspan title desc image"
_PAINT = "clipPath mask marker pattern linearGradient radialGradient stop"
ELEMENTS = frozenset(f"{_SHAPES} {_PAINT}".split())
"""What draws."""

PICTURE = re.compile(r"data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/=\s]*")
ELSEWHERE = re.compile(r"url\(\s*[\"']?(?!#)|image-set|javascript:|@import", re.IGNORECASE)


def safe_svg(text: str) -> str:
    """An ``<svg>`` element as it is, once it is known to be harmless.

    Args:
        text: One element, well-formed, without declarations, comments or a document type.

    Raises:
        ValueError: Not such an element; one that is no drawing, such as ``script``; a handler (``on...``); or a
            reference that leads out of it.
    """
    if "<!" in text or "<?" in text:  # a browser reads these in HTML otherwise than an XML parser does
        raise ValueError("an SVG in a page has no declaration, comment or document type")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"the SVG is not well-formed: {error}") from error
    if _plain(root.tag) != "svg":
        raise ValueError(f"an SVG is one svg element, got {_plain(root.tag)!r}")
    for element in root.iter():
        _check(element)
    return text


def _check(element: Element) -> None:
    tag = _plain(element.tag)
    if tag not in ELEMENTS:
        raise ValueError(f"an SVG in a page draws, but {tag!r} is not a drawing element")
    for name, value in element.attrib.items():
        plain = _plain(name).lower()
        if plain.startswith("on"):
            raise ValueError(f"an SVG in a page does not run anything, but {tag!r} has {plain!r}")
        inside = value.startswith("#") or (tag == "image" and PICTURE.fullmatch(value))
        if (plain in ("href", "src") and not inside) or (plain != "href" and ELSEWHERE.search(value)):
            raise ValueError(f"an SVG in a page fetches nothing, but {tag!r} has {plain} = {value[:60]!r}")


def _plain(name: str) -> str:
    return name.rpartition("}")[2]
