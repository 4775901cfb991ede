"""Whether code that lies beside a layer file may run: as the command line says, or a person at the terminal."""

import sys

from convnet.errors import printable
from convnet.graph.graph import Graph
from convnet.net.initial import code_of


def may_run_code(graph: Graph, allowed: bool) -> bool:
    """Return whether --allow-init-code was given, or is granted to a question; where nobody can answer, no."""
    found = code_of(graph)
    if allowed or not found:
        return allowed
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    lines = [f"{graph.definition.path} asks to run code of files that lie beside it:", *found]
    print("\n    ".join(map(printable, lines)), file=sys.stderr)
    print("Run it? Only if you trust it. [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
