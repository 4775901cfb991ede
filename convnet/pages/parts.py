"""What pages are made of: elements, tables, figures and pictures, in HTML that needs nothing from elsewhere.

Text that is not ``Html`` is escaped wherever it becomes part of a page, and what would hide or turn letters round in it is
written out, so that a name from a file is shown as it is and does nothing.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files

from PIL import Image

from convnet.texts import printable_lines

_VOID = {"br", "hr", "img", "input", "link", "meta", "source"}
_QUALITY = 82  # of JPEG
Content = object  # Html, or what is escaped


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def html(content: Content) -> Html:
    """Return ``content`` as HTML: escaped, unless it is that already. Ends of lines stay, tabs become blanks."""
    if isinstance(content, Html):
        return content
    text = str(content)
    return Html(escape(printable_lines(text if text.isprintable() else text.replace("\r\n", "\n").expandtabs())))


def joined(parts: Iterable[Content], between: str = "\n") -> Html:
    """Return parts one behind the other."""
    return Html(html(between).join(map(html, parts)))


def element(kind: str, /, *content: Content, **attributes: object) -> Html:
    """Return an element; of attributes a last ``_`` is dropped, others become ``-``; ``True`` is bare, ``None`` is none.

    >>> element("td", "<b>", class_="number", aria_hidden="true")
    '<td class="number" aria-hidden="true">&lt;b&gt;</td>'
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    known = {key: value for key, value in given.items() if value is not None and value is not False}
    said = (f" {key}" if value is True else f' {key}="{html(value)}"' for key, value in known.items())
    start = f"<{kind}{''.join(said)}>"
    return Html(start if kind in _VOID else f"{start}{joined(content, '')}</{kind}>")


def page(title: str, description: str, *body: Content, styles: Sequence[str] = (), scripts: Sequence[str] = ()) -> str:
    """Return a document with ``style.css``, and ``styles`` and ``scripts`` after it, in itself.

    What a browser may load is forbidden to it, but for pictures that stand in the page; without scripts, to run any.
    """
    allowed = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    head = [
        element("meta", charset="utf-8"),
        element("title", title),
        *([] if scripts else [element("meta", http_equiv="Content-Security-Policy", content=allowed)]),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="description", content=description),
        element("meta", name="color-scheme", content="light dark"),
        *(element("style", Html("\n" + text)) for text in (stylesheet(), *styles)),
    ]
    ends = [element("script", Html("\n" + text)) for text in scripts]
    document = element("html", element("head", joined(head)), "\n", element("body", joined([*body, *ends])), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


@cache
def stylesheet(package: str = "convnet.pages", name: str = "style.css") -> str:
    """Return a style sheet, or a script, that lies in a package."""
    return files(package).joinpath(name).read_text("utf-8")


def section(name: str, heading: str, *content: Content) -> Html:
    """Return a section that can be linked to as ``#name``."""
    title = element("h2", heading, id=f"{name}-heading")
    return element("section", title, "\n", joined(content), id=name, aria_labelledby=f"{name}-heading")


def facts(pairs: Iterable[tuple[Content, Content]]) -> Html:
    """Return names and what they are, as a list; pairs without a text are left out."""
    known = [(name, value) for name, value in pairs if str(value)]
    return element("dl", joined(element("div", element("dt", name), element("dd", value)) for name, value in known))


def listing(items: Iterable[Content]) -> Html:
    """Return a list; nothing where there are no items."""
    shown = [element("li", item) for item in items]
    return element("ul", joined(shown)) if shown else Html("")


def table(
    caption: str,
    head: Sequence[Content],
    rows: Iterable[Sequence[Content]],
    foot: Sequence[Content] = (),
    words: int | Collection[int] = 1,
) -> Html:
    """Return a table that scrolls by itself where it is wide; the first cell of a row is its head.

    The first ``words`` columns, or those numbered so, are words, the others numbers, flush right.
    """
    of_words = range(words) if isinstance(words, int) else words

    def line(cells: Sequence[Content], kind: str, scope: str) -> Html:
        shown = []
        for i, cell in enumerate(cells):
            name = kind if i else "th"
            where = (scope if kind == "th" else "row") if name == "th" else None
            shown.append(element(name, cell, scope=where, class_=None if i in of_words else "number"))
        return element("tr", *shown)

    parts = [element("caption", caption), element("thead", line(head, "th", "col"))]
    parts.append(element("tbody", joined(line(cells, "td", "row") for cells in rows)))
    parts += [element("tfoot", line(foot, "td", "row"))] if foot else []
    return element("div", element("table", joined(parts)), class_="wide", tabindex=0, role="region", aria_label=caption)


def figure(content: Content, caption: Content) -> Html:
    """Return a figure with its caption."""
    return element("figure", content, "\n", element("figcaption", caption))


def drawing(label: str, svg: str, small: str = "", is_of_paper: bool = False) -> Html:
    """Return a drawing as SVG, which scrolls by itself where it is wide; ``small`` is shown on narrow screens in its place.

    One that ``is_of_paper`` has no colours for the dark, where it is turned round.
    """
    kind = "paper" if is_of_paper else "drawing"
    scrolls = {"tabindex": 0, "role": "region", "aria_label": label}
    if not small:
        return element("div", Html(svg), class_=kind, **scrolls)
    large = element("div", Html(svg), class_=f"{kind} large-only", **scrolls)
    return joined([large, element("div", Html(small), class_=f"{kind} small", **scrolls)])


def details(summary: Content, *content: Content, is_open: bool = False) -> Html:
    """Return what is shown to those who ask for it, without a script."""
    return element("details", element("summary", summary), "\n", joined(content), open=is_open)


def file_text(text: Content, name: str) -> Html:
    """Return the text of a file, which scrolls by itself; ``name`` is for those who do not see it."""
    return element("pre", element("code", text), tabindex=0, role="region", aria_label=name)


def picture(image: Image.Image, alt: str, scale: int = 1, is_photo: bool = False, **attributes: object) -> Html:
    """Return an image, shown ``scale`` times as large; its pixels stay squares unless it is a photo."""
    kind = {} if is_photo else {"class_": "pixels"}
    size = {"width": image.width * scale, "height": image.height * scale}
    return element("img", src=data_url(image, is_photo), alt=alt, **size, **kind, **attributes)


def data_url(image: Image.Image, is_photo: bool = False) -> str:
    """Return an image as an address that holds it: JPEG for photos, else PNG, with a palette where that is exact."""
    out = io.BytesIO()
    if is_photo:
        image.convert("RGB").save(out, "JPEG", quality=_QUALITY, optimize=True)
    else:
        _smallest(image).save(out, "PNG", optimize=True)
    kind = "jpeg" if is_photo else "png"
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"


def _smallest(image: Image.Image) -> Image.Image:
    """Return the same pixels in the mode that takes the fewest bytes: grey, a palette, or colours."""
    colors = image.convert("RGB")
    red, green, blue = colors.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return red
    if colors.getcolors(256):
        return colors.quantize(256, dither=Image.Dither.NONE)
    return colors
