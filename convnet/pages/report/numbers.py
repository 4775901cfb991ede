"""How fast a run was, how large its weights are, and what its numbers say of its health."""

from collections.abc import Sequence
from statistics import median

from convnet.pages.parts import Html, element, facts, html, section, table
from convnet.pages.report.material import Material
from convnet.pages.report.times import Epoch
from convnet.texts import counted, time_text
from convnet.training.advice import advice_on, ratio_verdict

_EPOCHS, _WEIGHTS = 40, 300  # rows of tables
_KINDS = {"good": "good", "note": "warn", "warning": "warn", "error": "bad"}


def speed_section(material: Material) -> Html:
    """Return how fast the run was; nothing where its log does not tell."""
    speeds, times = sorted(material.history.speed.values), material.times
    if not speeds or not times.training:
        return Html("")
    rows = [
        ("Images in a second, as a rule", f"{median(speeds):,.0f}"),
        ("The slowest and the fastest batch", f"{speeds[0]:,.0f} and {speeds[-1]:,.0f} images in a second"),
        ("A batch, as a rule", _seconds(median(times.training))),
        ("All batches", time_text(sum(times.training))),
        ("All tests", time_text(sum(times.testing)) if times.testing else ""),
    ]
    return section("speed", "Speed", facts(rows), _epochs(times.epochs))


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 60 else time_text(seconds)


def _epochs(epochs: Sequence[Epoch]) -> Html:
    """Return the time of each epoch; of very many that of as many in a row together."""
    width = -(-len(epochs) // _EPOCHS)
    rows = []
    for start in range(0, len(epochs), width):
        some = epochs[start : start + width]
        which = str(some[0].number) if len(some) == 1 else f"{some[0].number} to {some[-1].number}"
        seconds, batches = (sum(epoch.seconds for epoch in some), sum(epoch.batches for epoch in some))
        rows.append([which, f"{batches:,}", _seconds(seconds), _seconds(seconds / batches)])
    return table("Time in batches, without tests", ("epoch", "batches", "time", "for a batch"), rows)


def health_section(material: Material) -> Html:
    """Return advice on the run, and the sizes of its weights at the last test."""
    found = [
        element(
            "div",
            element("p", element("strong", f"{advice.level}: {advice.where}"), " ", material.public(advice.text)),
            element("p", advice.remedy) if advice.remedy else "",
            class_=_KINDS.get(advice.level, "warn"),
        )
        for advice in advice_on(material.history)
    ]
    if not found and material.history.done:
        found = [element("p", "Nothing in its numbers calls for advice.")]
    return section("health", "Health", *found, _sizes(material))


def _sizes(material: Material) -> Html:
    """Return mean sizes of weights and of their last changes, with what their ratio says."""
    rows = []
    for (layer, label), sizes in material.history.sizes.items():
        if sizes:
            _, size, change = sizes[-1]
            ratio = f"{change / size:.2g}" if size else ""
            rows.append([f"{layer} {label}", f"{size:.3g}", f"{change:.3g}", ratio, str(ratio_verdict(size, change) or "")])
    if not rows:
        return Html("")
    more = f"And {counted(len(rows) - _WEIGHTS, 'matrix')} more." if len(rows) > _WEIGHTS else ""
    caption = "Mean sizes of weights, and of what a step adds to them, when they were measured last"
    grid = table(caption, ("weights", "size", "change", "ratio", "of the ratio"), rows[:_WEIGHTS], words=(0, 4))
    return html(Html(grid + element("p", more))) if more else grid
