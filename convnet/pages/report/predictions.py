"""What a net says of test cases: its errors by class, what it mistakes for what, and where it is certain or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from convnet.data.provider import first_synonyms
from convnet.drawing.confusion import confusion_scene
from convnet.drawing.sheet import enlarged, resized
from convnet.drawing.svg import svg_of
from convnet.pages.parts import Html, drawing, element, facts, figure, html, joined, picture, section, table
from convnet.pages.report.material import Material
from convnet.pages.report.trial import Case, Trial
from convnet.texts import counted
from convnet.training.costs import value_text
from convnet.training.report import Report

_CLASSES, _MISTAKES = 40, 20  # rows of classes by error, and of pairs
_SMALL, _PHOTO = 64, 128  # sides of pictures: up to which their pixels are kept, and of larger ones
_HEADS = 6


def predictions_section(material: Material) -> Html:
    """Return what a test came to, or why there was none."""
    trial = material.trial
    if trial is None:
        text = element("p", element("strong", "Not tested for this report."), " ", material.untested, class_="warn")
        return section("predictions", "What it gets right and wrong", text)
    content: list[Html] = [_outcome(trial)]
    for report in trial.reports[:_HEADS]:
        content += [element("h3", f"Classes of {report.cost}")] if len(trial.reports) > 1 else []
        names = first_synonyms(report.names)
        content += [*_matrix(report, names), _errors(report, names)]
    if len(trial.reports) > _HEADS:
        content.append(element("p", f"And {counted(len(trial.reports) - _HEADS, 'head')} more."))
    if not trial.reports:
        content.append(element("p", "Its costs tell no single class of a case, so that no mistakes are counted."))
    return section("predictions", "What it gets right and wrong", *content, *_cases(trial))


def _outcome(trial: Trial) -> Html:
    """Return the values of all costs, and what they are of."""
    many = len(trial.values) > 1
    rows = [
        (f"{cost}: {name}" if many else name, value_text(name, value))
        for cost, values in trial.values.items()
        for name, value in values.items()
    ]
    which = f"test {'batch' if trial.batches.isdigit() else 'batches'} {trial.batches}"
    of = f"Measured for this report, on {counted(trial.cases, 'case')} of {which}."
    return joined([element("p", of), element("div", facts(rows), class_="large")])


def _matrix(report: Report, names: Sequence[str]) -> list[Html]:
    """Return how many cases of each class were taken for each, as a drawing; and those most often mistaken as a table."""
    scene = confusion_scene(report)
    drawn = figure(drawing(f"Mistakes of {report.cost}", svg_of(scene)), scene.title)
    rows = [[names[label], names[guess], f"{count:,}"] for label, guess, count in report.mistakes()[:_MISTAKES]]
    return [drawn, table("What was mistaken most often", ("class", "taken for", "cases"), rows, words=2)]


def _errors(report: Report, names: Sequence[str]) -> Html:
    """Return the errors of each class, the worst first; of very many classes the worst and the best."""
    order, half = report.worst_first(), _CLASSES // 2
    shown = [report.error_row(names[k], [k]) for k in (order if len(order) <= _CLASSES else order[:half])]
    if len(order) > _CLASSES:
        shown.append(report.error_row(f"{len(order) - _CLASSES:,} classes between", order[half:-half]))
        shown += [report.error_row(names[k], [k]) for k in order[-half:]]
    head = ["class", "cases", *report.heads()]
    return table("Errors by class, the worst first", head, shown, report.error_row("all", order))


def _cases(trial: Trial) -> list[Html]:
    """Return the cases of each kind, with their pictures and what the net says of them."""
    if not trial.picks.unsure:
        return []
    names = first_synonyms(trial.reports[0].names)
    kinds = (
        ("Most certain, and right", trial.picks.right),
        ("Most certain, and wrong", trial.picks.wrong),
        ("Least certain", trial.picks.unsure),
    )
    parts = []
    for heading, cases in kinds:
        none = element("p", "There are none.")
        shown = element("div", joined(_case(case, names) for case in cases), class_="cases") if cases else none
        parts += [element("h3", heading), shown]
    return parts


def _case(case: Case, names: Sequence[str]) -> Html:
    truth, said = names[case.truth], names[case.guesses[0][0]]
    verdict = "right" if case.truth == case.guesses[0][0] else "wrong"
    bars = [
        element(
            "li",
            element("span", names[k]),
            element("span", f"{100 * share:.1f} %", class_="number"),
            class_="true" if k == case.truth else None,
            style=f"--share:{min(max(share, 0), 1):.3f}",
        )
        for k, share in case.guesses
    ]
    alt = f"Test case {case.number} of batch {case.batch}: {truth}, taken for {said}"
    image = case_picture(case.picture, alt) if case.picture is not None else Html("")
    caption = joined([element("strong", truth), f" ({verdict})", element("ol", *bars)], "")
    return figure(html(image), caption)


def case_picture(values: np.ndarray, alt: str) -> Html:
    """Return a picture (H, W, C) of 0 to 1: a small one with its pixels, a larger one as a photo."""
    values = np.clip(values, 0, 1)
    side = max(values.shape[:2])
    if values.shape[-1] not in (1, 3):
        values = values[..., :1]
    if side <= _SMALL:
        image: Image.Image = enlarged(values, 1)
        return picture(image, alt, max(1, _PHOTO // side))
    return picture(resized(values, _PHOTO), alt, is_photo=True)
