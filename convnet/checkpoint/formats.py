"""Which programs open a checkpoint: the formats, and which of them hold a net."""

from convnet.errors import OptionError
from convnet.generation import GENERATIONS, Generation
from convnet.graph.fitting import holding, misfits
from convnet.graph.graph import Graph
from convnet.options import NPZ

FORMATS = (*(str(generation) for generation in reversed(GENERATIONS)), NPZ)  # the first that holds a net is its own
_SHOWN = 4


def format_for(given: str, graph: Graph) -> tuple[str, str]:
    """Return the format of a net's checkpoints, which may be ``given``, and a remark where nobody would expect it.

    Raises ``OptionError`` for a given one that does not hold the net.
    """
    if given == NPZ:
        return given, ""
    if lacks := misfits(graph, Generation(given or FORMATS[0])):
        if given:
            text = f"--checkpoint-format {given} cannot hold this net: {'; '.join(lacks[:_SHOWN])}"
            raise OptionError(f"{text}; formats that can: {', '.join(holding(graph))}")
        first = holding(graph)[0]
        return first, f"Checkpoints are in the format of {first}: {'; '.join(lacks[:_SHOWN])}."
    return given or FORMATS[0], ""
