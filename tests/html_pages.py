"""Pages read back as a browser would: which elements there are, what they say, which files they would load."""

import base64
import io
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
from PIL import Image

VOID = {"br", "hr", "img", "input", "link", "meta", "source"}
CLOSED_AT_ONCE = {"path", "rect", "image", "circle", "line"}  # of SVG


@dataclass
class Element:
    """An element, what stands in it and in those in it, and the names of those around it."""

    kind: str
    attributes: dict[str, str | None]
    around: list[str]
    text: str = ""


@dataclass
class Read(HTMLParser):
    """A page; raises ``AssertionError`` for elements that are not closed in order, or ids that are there twice."""

    elements: list[Element] = field(default_factory=list)

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements, self._open = [], []
        self.feed(page)
        self.close()
        assert not self._open, f"left open: {[element.kind for element in self._open]}"
        ids = [element.attributes["id"] for element in self.elements if "id" in element.attributes]
        assert len(ids) == len(set(ids)), "an id is there twice"

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute of {tag} is there twice"
        element = Element(tag, dict(attrs), [other.kind for other in self._open])
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        assert tag in CLOSED_AT_ONCE, tag
        self.elements.append(Element(tag, dict(attrs), [other.kind for other in self._open]))

    def handle_endtag(self, tag):
        assert self._open and self._open.pop().kind == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        for element in self._open:
            element.text += data

    def all(self, kind, **attributes):
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [e for e in self.elements if e.kind == kind and wanted.items() <= e.attributes.items()]

    def rows(self, caption):
        """The cells of each row of the table whose caption begins so."""
        tables, found = 0, []
        for element in self.elements:
            if element.kind == "caption":
                tables += 1
                is_it = element.text.startswith(caption)
            elif element.kind == "tr" and tables and is_it:
                found.append([])
            elif element.kind in ("td", "th") and tables and is_it:
                found[-1].append(element.text)
        return found

    @property
    def loads(self):
        """What a browser would fetch, but for what stands in the page itself."""
        names = ("src", "href", "srcset", "data", "action", "poster", "xlink:href", "background")
        said = [(e.kind, e.attributes[name]) for e in self.elements for name in names if e.attributes.get(name)]
        loaded = [(kind, value) for kind, value in said if not value.startswith(("data:image/", "#"))]
        styles = [e.text for e in self.elements if e.kind == "style"]
        styles += [e.attributes["style"] or "" for e in self.elements if "style" in e.attributes]
        return loaded + [("style", text) for text in styles if "@import" in text or "url(" in text.replace("url(#", "")]


def image_of(element: Element) -> np.ndarray:
    """The pixels of an img element, (H, W, 3)."""
    data = base64.b64decode(element.attributes["src"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
