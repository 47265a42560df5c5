"""A figure as an inline SVG that takes text colour, grid colour and font from the page it stands in."""

import hashlib
import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import matplotlib as mpl
from matplotlib.figure import Figure

from kdmri_monai.report.axes import FAINT, INK, PAPER

THEME = {
    INK.lower(): "currentColor",
    "#000000": "currentColor",
    FAINT.lower(): "var(--faint, #dddddd)",
    PAPER.lower(): "var(--paper, Canvas)",
}
"""Colours of the figure that the page decides, in dark as in light."""

SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "kdmri", "svg.image_inline": True}
LARGEST = 1.4
"""How much wider than drawn a figure may be shown: 8 points are then 15 px."""

NUMBER = re.compile(r"-?\d+\.\d+")
SHORTHAND = re.compile(r"(?:(?P<weight>bold|[1-9]00)\s+)?(?P<size>[\d.]+px)")


def themed_svg(figure: Figure, title: str, description: str) -> str:
    """An ``<svg>`` element for the body of a page.

    Text stays text. Ink is ``currentColor``; grid lines are ``var(--faint)`` and what lies behind marks is
    ``var(--paper)``, both with a value of their own where the page sets none. The background is transparent. The width
    is that of the place it stands in, up to 1.4 times the drawn one. There is no style sheet, script or reference out
    of the element. The layout of the figure is settled by it. Ids begin with a hash of the content, so figures that
    differ share none; equal figures give equal strings.

    Args:
        figure: Figure in the colours of ``report.axes``.
        title: Short name, read out by a screen reader.
        description: What is seen, in a sentence or two.

    Raises:
        ValueError: The title or the description is empty.
    """
    if not title.strip() or not description.strip():
        raise ValueError("a figure without title or description says nothing to those who cannot see it")
    root = ElementTree.fromstring(_drawn(figure))
    _forget_namespaces(root)
    _forget_sheets(root)
    for element in list(root.iter())[::-1]:  # children first
        _theme(element)
        _shorten(element)
        _share_style(element)
    _rename(root, "i")  # what matplotlib calls them hangs on digits that were rounded away
    content = "\0".join((ElementTree.tostring(root, encoding="unicode"), title, description))
    prefix = "f" + hashlib.sha256(content.encode()).hexdigest()[:10]
    _rename(root, prefix)
    _describe(root, prefix, title, description)
    return ElementTree.tostring(root, encoding="unicode")


def _drawn(figure: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context(SETTINGS):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # or the next drawing would begin where this one left the axes
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return text.getvalue()


def _forget_namespaces(root: Element) -> None:
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in list(element.attrib):
            element.set(name.rpartition("}")[2], element.attrib.pop(name))


def _forget_sheets(root: Element) -> None:
    """Drops metadata, the sheet that would style the whole page, and white space between elements."""
    for element in list(root.iter()):
        for child in list(element):
            if child.tag in ("metadata", "style"):
                element.remove(child)
        if element.tag not in ("text", "tspan"):
            element.text = None
        element.tail = None


def _theme(element: Element) -> None:
    rules = dict(_rules(element.attrib.pop("style", "")))
    rules.pop("font-family", None)
    short = SHORTHAND.search(rules.pop("font", ""))
    if short:
        rules.update({"font-size": short["size"], **({"font-weight": short["weight"]} if short["weight"] else {})})
    rules = {name: THEME.get(value.lower(), value) for name, value in rules.items()}
    if rules:
        element.set("style", ";".join(f"{name}:{value}" for name, value in rules.items()))


def _rules(text: str) -> Iterator[tuple[str, str]]:
    for rule in text.split(";"):
        name, colon, value = rule.partition(":")
        if colon:
            yield name.strip(), value.strip()


def _shorten(element: Element) -> None:
    """Hundredths of a point are enough, thousandths where a transform may scale; text without a turn needs none."""
    for name, value in list(element.attrib.items()):
        if name in ("d", "x", "y", "width", "height", "points"):
            element.set(name, " ".join(_rounded(value, 2).split()))
        elif name == "transform" and value.startswith("rotate(-0 "):
            element.attrib.pop(name)
        elif name == "transform":
            element.set(name, _rounded(value, 3))


def _share_style(element: Element) -> None:
    """Marks of one series have one look, which stands once; an opacity of a mark is not that of their group."""
    looks = {child.get("style", "") for child in element}
    if len(element) > 1 and len(looks) == 1 and all(child.tag == "use" for child in element):
        (look,) = looks
        if look and "style" not in element.attrib and not re.search(r"(^|;)opacity:", look):
            element.set("style", look)
            for child in element:
                child.attrib.pop("style")


def _rounded(text: str, digits: int) -> str:
    return NUMBER.sub(lambda match: f"{round(float(match[0]), digits):.10g}", text)


def _rename(root: Element, prefix: str) -> None:
    """Keeps the ids that something refers to, numbered behind the prefix."""
    values = [value for element in root.iter() for value in element.attrib.values()]
    used = dict.fromkeys(name for value in values for name in re.findall(r"(?:^|url\()#([\w.:-]+)", value))
    names = {name: f"{prefix}-{number}" for number, name in enumerate(used)}
    for element in root.iter():
        for attribute, value in list(element.attrib.items()):
            if attribute == "id":
                element.attrib.pop("id")
                if value in names:
                    element.set("id", names[value])
            elif "#" in value:
                new = re.sub(r"(^|url\()#([\w.:-]+)", lambda match: f"{match[1]}#{names[match[2]]}", value)
                element.set(attribute, new)


def _describe(root: Element, prefix: str, title: str, description: str) -> None:
    width, height = (float(number) for number in root.attrib["viewBox"].split()[2:])
    root.attrib.clear()
    root.attrib.update(
        {
            "viewBox": f"0 0 {width:g} {height:g}",
            "width": "100%",
            "role": "img",
            "aria-labelledby": f"{prefix}-title {prefix}-description",
            "fill": "currentColor",
            "stroke-linejoin": "round",
            "style": f"max-width:{LARGEST * width / 0.75:.0f}px;height:auto;overflow:visible;font-family:inherit",
        }
    )
    for number, (tag, words) in enumerate((("title", title), ("desc", description))):
        element = SubElement(root, tag, {"id": f"{prefix}-{'title' if tag == 'title' else 'description'}"})
        element.text = words
        root.remove(element)
        root.insert(number, element)
