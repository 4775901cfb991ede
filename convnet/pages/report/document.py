"""The report as a document: its sections in order, and the look of what no other page has."""

import re

from convnet.drawing.banks import picture_channels
from convnet.pages.parts import Html, element, joined, listing, page, section, stylesheet
from convnet.pages.report.about import about_section
from convnet.pages.report.film import film_section
from convnet.pages.report.filters import banks, filter_figures
from convnet.pages.report.learning import learning_section
from convnet.pages.report.material import Material
from convnet.pages.report.net import net_section
from convnet.pages.report.numbers import health_section, speed_section
from convnet.pages.report.predictions import predictions_section

_HEADING = re.compile(r'<section id="([^"]+)"[^>]*><h2[^>]*>(.*?)</h2>')


def report(material: Material) -> str:
    """Return the report of a run as a document of HTML; the same run gives the same bytes."""
    filters, styles = _filters(material)
    sections = [
        about_section(material),
        learning_section(material),
        predictions_section(material),
        filters,
        net_section(material),
        speed_section(material),
        health_section(material),
    ]
    shown = [content for content in sections if content]
    headings = [match.groups() for content in shown if (match := _HEADING.match(content))]
    links = [element("li", element("a", Html(heading), href=f"#{name}")) for name, heading in headings]
    title = f"{material.title}: the report of a run"
    head = element(
        "header", element("h1", material.title), element("p", f"The report of run {material.run}", class_="faint")
    )
    nav = element("nav", element("ul", joined(links)), aria_label="Sections")
    foot = element("footer", element("p", "Written by “convnet report”. It needs nothing but this file."))
    description = f"What the net {material.title} is, how it was trained in run {material.run}, and what it learned."
    body = [head, nav, element("main", joined(shown)), foot]
    return page(title, description, *body, styles=[stylesheet("convnet.pages.report", "report.css"), *styles])


def _filters(material: Material) -> tuple[Html, list[str]]:
    """Return the section of filters, and style sheets for it; nothing where the net has none."""
    checkpoint, graph = material.checkpoint, material.graph
    if checkpoint is None or graph is None:
        return Html(""), []
    figures, notes = filter_figures(list(banks(checkpoint.layers, graph, picture_channels(checkpoint))))
    if not figures and not notes:
        return Html(""), []
    film, styles = film_section(material)
    return section("filters", "Filters", film, *figures, listing(notes)), styles
