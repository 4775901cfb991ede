"""How filters came to be: those of each checkpoint that is kept, to be stepped through, or played where motion is welcome.

The frames are buttons of one choice, which a keyboard reaches; style sheets show the one that is chosen, and play them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convnet.checkpoint import load
from convnet.drawing.banks import picture_channels
from convnet.drawing.filter_sheet import mosaic
from convnet.errors import ConvnetError
from convnet.graph.graph import Graph
from convnet.pages.parts import Html, element, html, joined, picture
from convnet.pages.report.filters import Bank, banks, scale_of
from convnet.pages.report.material import Material

_FRAMES = 12
_SECONDS = 0.7  # that a frame is shown
_ROOM = 1 << 19  # bytes of all frames
Frames = list[tuple[str, np.ndarray]]  # what a frame is called, and filters (C, k, k, F)


def films_of(material: Material) -> dict[str, Frames]:
    """Return the filters of the first layers, which see pictures, at every checkpoint kept; layers of towers each."""
    checkpoint, graph = material.checkpoint, material.graph
    if checkpoint is None or graph is None or len(material.kept) < 2:
        return {}
    first = [
        bank
        for bank in banks(checkpoint.layers, graph, picture_channels(checkpoint))
        if isinstance(bank, Bank) and not bank.has_many_channels and len(bank.filters) in (1, 3)
    ]
    films: dict[str, Frames] = {bank.layer: [] for bank in first[:2]}
    for path in chosen(material.kept):
        for name, filters in _filters_at(path, graph, list(films)).items():
            if all(filters.shape == other.shape for _, other in films[name]):
                films[name].append((path.name, filters))
    return {name: frames for name, frames in films.items() if len(frames) > 1}


def chosen(paths: Sequence[Path]) -> list[Path]:
    """Return some of very many checkpoints, evenly, the first and the last among them."""
    count = min(len(paths), _FRAMES)
    return [paths[round(i * (len(paths) - 1) / max(1, count - 1))] for i in range(count)]


def _filters_at(path: Path, graph: Graph, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the filters of layers at a checkpoint; nothing of one that cannot be read, or is of another net."""
    try:
        checkpoint = load(path)
        stored = {name: checkpoint.layers[name] for name in names if name in checkpoint.layers}
        found = list(banks(stored, graph, picture_channels(checkpoint)))
    except (ConvnetError, OSError, KeyError, ValueError, IndexError, TypeError):
        return {}
    return {bank.layer: bank.filters for bank in found if isinstance(bank, Bank)}


def film(name: str, frames: Frames, number: int) -> Html:
    """Return the film of a layer's filters, scaled together, that shows its last frame until another is chosen."""
    low = min(float(filters.min()) for _, filters in frames)
    high = max(float(filters.max()) for _, filters in frames)
    span = high - low or 1
    parts, images, left = [], [], _ROOM // 2
    for label, filters in frames:
        image = mosaic((filters - low) / span, len(filters) == 3, zoom=1)
        content = picture(image, f"Filters of {name} at checkpoint {label}", scale_of(image))
        left -= len(content)
        images.append(content)
    if left < 0:  # every second, the last among them
        return film(name, frames[-1::-2][::-1], number) if len(frames) > 3 else Html("")
    group = f"film-{number}"
    for i, label in enumerate(["play", *(label for label, _ in frames)]):
        kind = "play" if i == 0 else None
        box = element("input", type="radio", name=group, id=f"{group}-{i}", class_=kind, checked=i == len(frames))
        parts.append(box + element("label", label, for_=f"{group}-{i}", class_=kind))
    legend = f"{name} at {len(frames)} checkpoints"
    note = f"Scaled together: {low:.3g} is black, {high:.3g} white."
    body = [*map(Html, parts), element("div", joined(images), class_="frames")]
    kind = f"film frames-{len(frames)}"
    return element("fieldset", element("legend", legend), joined(body), element("p", note, class_="faint"), class_=kind)


def film_style(count: int) -> str:
    """Return rules for a film of ``count`` frames: the chosen one is shown; played, one after another."""
    chosen_rules = ",\n".join(
        f".frames-{count} input:nth-of-type({i + 2}):checked ~ .frames img:nth-child({i + 1})" for i in range(count)
    )
    played = f".frames-{count} .play:checked ~ .frames img"
    delays = "\n".join(f"{played}:nth-child({i + 1}) {{ animation-delay: {i * _SECONDS:.1f}s; }}" for i in range(count))
    share = 100 / count
    return (
        f"{chosen_rules} {{ visibility: visible; }}\n"
        f"@keyframes film-{count} {{ 0%, {share:.2f}% {{ visibility: visible; }} "
        f"{share + 0.01:.2f}%, 100% {{ visibility: hidden; }} }}\n"
        f"{played} {{ animation: film-{count} {count * _SECONDS:.1f}s step-end infinite; }}\n{delays}\n"
    )


def film_section(material: Material) -> tuple[Html, list[str]]:
    """Return the films of a run and their style sheets; nothing where fewer than two checkpoints are kept."""
    shown = [film(name, frames, number) for number, (name, frames) in enumerate(films_of(material).items())]
    shown = [content for content in shown if content]
    counts = sorted({content.count("<img") for content in shown})
    if not shown:
        return Html(""), []
    heading = element("h3", "How the first filters came to be")
    hint = html("Choose a checkpoint, or “play”. The numbers are epoch and batch.")
    return joined([heading, element("p", hint), *shown]), [film_style(count) for count in counts]
