"""Which of the three generations a pair of files was written for.

Derived from the declarations: a generation loses a point for every layer type or key that its parser did not
read, and for every key that it demanded and does not find; the later two also for a definition that names no device
at all. Ties go to the later generation.
"""

from convnet.generation import G2011, G2014, GENERATIONS, Generation
from convnet.language.ini import Document
from convnet.layers import LAYER_TYPES

_WEIGHT = 5  # of a layer type, and of naming no device, against a key


def detect(definition: Document, params: Document | None) -> Generation:
    """Return the generation whose parser comes closest to reading these files completely."""
    return min(reversed(GENERATIONS), key=lambda generation: _misfits(generation, definition, params))


def _misfits(generation: Generation, definition: Document, params: Document | None) -> int:
    names_devices = any("gpu" in section.entries for section in definition.sections.values())
    total = _WEIGHT * (generation != G2011 and not names_devices)
    for name, section in definition.sections.items():
        entry = section.entries.get("type")
        layer = LAYER_TYPES.get(str(entry.raw).strip()) if entry else None
        if layer is None:
            continue
        total += _WEIGHT * (generation not in layer.read_by)
        learning = params.sections[name].entries if params and name in params.sections else {}
        # Only 2014 writes a schedule with its base into a learning rate.
        rates = [str(learning[key].raw) for key in ("epsw", "epsb") if key in learning]
        total += generation != G2014 and any("base" in rate for rate in rates)
        entries = section.entries.keys() | learning.keys()
        for key in layer.keys:
            present = any(spelling.lower() in entries for spelling in key.spellings)
            total += generation not in key.read_by if present else generation in key.demanded_by
    return total
