"""Which programs open a checkpoint: the formats, and which of them hold a net."""

from convnet.errors import OptionError
from convnet.generation import GENERATIONS
from convnet.graph.fitting import holding
from convnet.graph.graph import Graph
from convnet.graph.writer import write_graph
from convnet.options import AUTO, NPZ

FORMATS = (*(str(generation) for generation in reversed(GENERATIONS)), NPZ)  # the first that holds a net is its own
_SHOWN = 4


def format_for(given: str, graph: Graph) -> tuple[str, str]:
    """Return the format of a net's checkpoints, ``given`` unless it is ``auto``, and a remark where nobody would expect it.

    Raises ``OptionError`` for a given one that does not hold the net.
    """
    if given == NPZ:
        return given, ""
    given = "" if given == AUTO else given
    written = write_graph(graph, given or FORMATS[0], classes=graph.classes or 0)
    lacks, lost = "; ".join(written.unfit[:_SHOWN]), "; ".join(written.notes[:_SHOWN])
    if lacks and given:
        raise OptionError(
            f"--checkpoint-format {given} cannot hold this net: {lacks}; formats that can: {', '.join(holding(graph))}"
        )
    if lacks:
        first = holding(graph)[0]
        return first, f"Checkpoints are in the format of {first}: {lacks}."
    return given or FORMATS[0], f"Programs of {given} that go on from here miss this: {lost}." if given and lost else ""
