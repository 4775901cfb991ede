"""Whether code that lies beside a layer file may run: as the command line says, or a person at the terminal."""

import sys

from convnet.graph.graph import Graph
from convnet.net.initial import check_no_code, code_of
from convnet.texts import printable


def may_run_code(graph: Graph, allowed: bool) -> bool:
    """Return whether there is code that may run: where --allow-init-code is given, or a question is answered with yes.

    Raises ``ConvnetError`` where the answer is no, or nobody is there to answer.
    """
    found = code_of(graph)
    if allowed or not found:
        return allowed
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty() and _ask(graph.definition.path, found)):
        check_no_code(graph)
    return True


def _ask(path: str, found: list[str]) -> bool:
    lines = [f"{path} asks to run code of files that lie beside it:", *found]
    print("\n    ".join(map(printable, lines)), file=sys.stderr)
    print("Run it? Only if you trust it. [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        print(file=sys.stderr)
    return answer.strip().lower() in ("y", "yes")
