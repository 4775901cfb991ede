"""Which programs open a checkpoint: the formats, and which of them hold a net."""

from dataclasses import dataclass

from convnet.checkpoint.fitting import fitting, holding
from convnet.errors import OptionError
from convnet.generation import G2014, GENERATIONS, Generation
from convnet.graph.graph import Graph
from convnet.graph.writer import write_graph
from convnet.options import AUTO, NPZ

FORMATS = (*(str(generation) for generation in reversed(GENERATIONS)), NPZ)  # the first that holds a net is its own
_SHOWN = 4


@dataclass(frozen=True)
class Format:
    """How a net is saved: under which ``name``, in the way of which ``generation``, as which ``graph`` in its words.

    ``remark`` is what nobody would expect of it. ``definition_path`` and ``params_path`` are of layer files for the programs
    of that generation, where they cannot find or read the net's own.
    """

    name: str
    generation: Generation
    graph: Graph
    remark: str = ""
    definition_path: str = ""
    params_path: str = ""


def format_for(given: str, graph: Graph) -> Format:
    """Return the format of a net's checkpoints: the one that is ``given``, or of ``auto`` the first that holds the net.

    Raises ``OptionError`` for a given one that does not hold it.
    """
    remark, name = "", FORMATS[0] if given == AUTO else given
    if name != NPZ:
        written = write_graph(graph, name)
        lacks, lost = "; ".join(written.unfit[:_SHOWN]), "; ".join(written.notes[:_SHOWN])
        if lacks and given != AUTO:
            text = f"--checkpoint-format {name} cannot hold this net: {lacks}"
            raise OptionError(f"{text}; formats that can: {', '.join(holding(graph))}")
        if lacks:
            name = holding(graph)[0]
            remark = f"Checkpoints are in the format of {name}: {lacks}."
        elif lost and given != AUTO:
            remark = f"Programs of {name} that go on from here miss this: {lost}."
    if name == NPZ:
        return Format(name, G2014, graph, remark)
    return Format(name, Generation(name), fitting(graph, Generation(name)).graph, remark)
