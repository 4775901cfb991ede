"""The report as a document: its sections in order, and the look of what no other page has."""

import re

from convnet.drawing.filter_banks import picture_channels
from convnet.pages.parts import Html, element, joined, listing, page, section, stylesheet
from convnet.pages.report.about import about_section
from convnet.pages.report.film import film_section
from convnet.pages.report.filters import filter_figures, layer_filters
from convnet.pages.report.learning import learning_section
from convnet.pages.report.net import net_section
from convnet.pages.report.numbers import health_section, speed_section
from convnet.pages.report.predictions import predictions_section
from convnet.pages.report.reported_run import ReportedRun

_HEADING = re.compile(r'<section id="([^"]+)"[^>]*><h2[^>]*>(.*?)</h2>')


def report(run: ReportedRun) -> str:
    """Return the report of a run as a document of HTML; the same run gives the same bytes."""
    filters, styles = _filters(run)
    sections = [
        about_section(run),
        learning_section(run),
        predictions_section(run),
        filters,
        net_section(run),
        speed_section(run),
        health_section(run),
    ]
    shown = [content for content in sections if content]
    headings = [match.groups() for content in shown if (match := _HEADING.match(content))]
    links = [element("li", element("a", Html(heading), href=f"#{name}")) for name, heading in headings]
    title = f"{run.title}: the report of a run"
    head = element("header", element("h1", run.title), element("p", f"The report of run {run.name}", class_="faint"))
    nav = element("nav", element("ul", joined(links)), aria_label="Sections")
    foot = element("footer", element("p", "Written by “convnet report”. It needs nothing but this file."))
    description = f"What the net {run.title} is, how it was trained in run {run.name}, and what it learned."
    body = [head, nav, element("main", joined(shown)), foot]
    return page(title, description, *body, styles=[stylesheet("convnet.pages.report", "report.css"), *styles])


def _filters(run: ReportedRun) -> tuple[Html, list[str]]:
    """Return the section of filters, and style sheets for it; nothing where the net has none."""
    checkpoint, graph = run.checkpoint, run.graph
    if checkpoint is None or graph is None:
        return Html(""), []
    figures, notes = filter_figures(list(layer_filters(checkpoint.layers, graph, picture_channels(checkpoint))))
    if not figures and not notes:
        return Html(""), []
    film, styles = film_section(run)
    return section("filters", "Filters", film, *figures, listing(notes)), styles
