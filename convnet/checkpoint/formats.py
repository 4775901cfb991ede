"""Which programs open a checkpoint: the formats, and which of them hold a net."""

from convnet.errors import OptionError
from convnet.generation import GENERATIONS, Generation
from convnet.graph.graph import Graph
from convnet.language.neurons import TYPES
from convnet.options import NPZ
from convnet.texts import listed

FORMATS = (*(str(generation) for generation in reversed(GENERATIONS)), NPZ)  # the first that holds a net is its own


def format_for(given: str, graph: Graph) -> tuple[str, str]:
    """Return the format of a net's checkpoints, which may be ``given``, and a remark where nobody would expect it.

    Raises ``OptionError`` for a given one that does not hold the net.
    """
    lacks = {name: lacking(Generation(name), graph) if name != NPZ else [] for name in FORMATS}
    holding = [name for name in FORMATS if not lacks[name]]
    if given and lacks[given]:
        text = f"--checkpoint-format {given}: its programs do not know {listed(lacks[given], 4)}"
        raise OptionError(f"{text}; there is {' and '.join(holding)}")
    if given or holding[0] == FORMATS[0]:
        return given or holding[0], ""
    unknown = listed(lacks[FORMATS[0]], 4)
    return holding[0], f"Checkpoints are in the format of {holding[0]}: the programs of {FORMATS[0]} do not know {unknown}."


def lacking(generation: Generation, graph: Graph) -> list[str]:
    """Return each layer of a net that a generation has no word for, as ``hs1 (type=hs)``."""
    lines = []
    for layer in graph.declared:
        if generation not in layer.read_by:
            lines.append(f"{layer.name} (type={layer.type})")
        elif layer.neuron and generation not in TYPES[layer.neuron.type].read_by:
            lines.append(f"{layer.name} (neuron={layer.neuron.type})")
    return lines
