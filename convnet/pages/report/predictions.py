"""What a net says of test cases: its errors by class, what it mistakes for what, and where it is certain or not.

Letters: K classes.
"""

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

_MATRIX, _CLASSES, _MISTAKES = 20, 40, 20  # classes of a matrix, rows of classes by error, and pairs
_SMALL, _PHOTO = 64, 128  # sides of pictures: up to which their pixels are kept, and of larger ones
_HEADS = 6
_RIGHT, _WRONG = "30,110,52", "208,28,54"  # shades of the matrix, in light and in dark


def predictions_section(material: Material) -> Html:
    """Return what a test came to, or why there was none."""
    trial = material.trial
    if trial is None:
        text = element("p", element("strong", "Not tested for this report."), " ", material.untested, class_="warn")
        return section("predictions", "What it gets right and wrong", text)
    content: list[Html] = [_outcome(trial)]
    for report in trial.reports[:_HEADS]:
        content += [element("h3", f"Classes of {report.cost}")] if len(trial.reports) > 1 else []
        content += [_matrix(report), _errors(report)]
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


def _matrix(report: Report) -> Html:
    """Return how many cases of each class were taken for each; of many classes those most often mistaken, as a drawing."""
    names, confusions = first_synonyms(report.names), report.confusions()
    if len(names) > _MATRIX:
        scene = confusion_scene(report)
        drawn = figure(drawing(f"Mistakes of {report.cost}", svg_of(scene)), scene.title)
        mistakes = sorted((pair for pair in confusions if pair[0] != pair[1]), key=lambda pair: (-pair[2], *pair))
        rows = [[names[label], names[guess], f"{count:,}"] for label, guess, count in mistakes[:_MISTAKES]]
        return joined([drawn, table("What was mistaken most often", ("class", "taken for", "cases"), rows, words=2)])
    counts = np.zeros((len(names), len(names)), int)
    for label, guess, cases in confusions:
        counts[label, guess] = cases
    shades = {}
    for label, guess, cases in confusions:
        color, share = _RIGHT if guess == label else _WRONG, cases / counts[label].sum()
        shades[label, guess + 1] = f"background:rgba({color},{0.08 + 0.42 * share:.2f})"
    rows = [[name, *(f"{count:,}" if count else "" for count in row)] for name, row in zip(names, counts, strict=True)]
    caption = "Cases of each class (rows), and what they were taken for (columns)"
    return table(caption, ["", *names], rows, shades=shades)


def _errors(report: Report) -> Html:
    """Return the errors of each class, the worst first; of very many classes the worst and the best."""
    cases, misses, names = report.cases, report.misses, first_synonyms(report.names)
    known: list[int] = np.flatnonzero(cases).tolist()
    order = sorted(known, key=lambda k: (-misses[0, k] / cases[k], k))

    def row(name: str, classes: Sequence[int]) -> list[str]:
        total = int(cases[classes].sum())
        return [name, f"{total:,}", *(f"{100 * missed / max(total, 1):.2f} %" for missed in misses[:, classes].sum(axis=1))]

    half = _CLASSES // 2
    shown = [row(names[k], [k]) for k in (order if len(order) <= _CLASSES else order[:half])]
    if len(order) > _CLASSES:
        shown.append(row(f"{len(order) - _CLASSES:,} classes between", order[half:-half]))
        shown += [row(names[k], [k]) for k in order[-half:]]
    return table("Errors by class, the worst first", ["class", "cases", *report.heads()], shown, row("all", order))


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
