"""How large the product is: lines in all, per file, per function. ``python tests/test_size.py`` prints the numbers."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUDGET = 53_750  # lines of Python, C, Cython and CUDA
FILE, FUNCTION = 500, 60
GENERATED = {"_kernels.c"}
KINDS = (".py", ".pyx", ".pxi", ".pxd", ".c", ".h", ".cu", ".cuh")


def product_files() -> list[Path]:
    """Every source file that is installed or builds what is."""
    folders = (ROOT / "convnet", ROOT / "cuda", ROOT / "tools")
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in KINDS and path.name not in GENERATED]
    return sorted([*files, ROOT / "setup.py"])


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def python_functions(path: Path) -> list[tuple[str, int]]:
    """(name, lines) of every function and method."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [(node.name, node.end_lineno - node.lineno + 1) for node in functions]


def c_functions(path: Path) -> list[tuple[str, int]]:
    """(first line, lines) of every function of a C or CUDA file: from a line that begins one to ``}`` in column 1."""
    found, start = [], None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        if start is None and re.match(r"[A-Za-z].*[(]", line) and not line.rstrip().endswith(";"):
            start = number, line.strip()
        elif start is not None and line.rstrip().endswith(");") and not line.startswith(" "):
            start = None
        if start is not None and line.startswith("}"):
            found.append((start[1], number - start[0] + 1))
            start = None
    return found


def functions_of(path: Path) -> list[tuple[str, int]]:
    if path.suffix == ".py":
        return python_functions(path)
    return c_functions(path) if path.suffix in (".c", ".h", ".cu", ".cuh") else []


def test_the_product_stays_small():
    assert sum(lines_of(path) for path in product_files()) <= BUDGET


def test_files_and_functions_stay_short():
    long_files = [f"{path.relative_to(ROOT)}: {lines_of(path)}" for path in product_files() if lines_of(path) > FILE]
    long_functions = [
        f"{path.relative_to(ROOT)}: {name}: {lines}"
        for path in product_files()
        for name, lines in functions_of(path)
        if lines > FUNCTION
    ]
    assert not long_files and not long_functions


def test_a_long_function_is_found(tmp_path):
    python, c = tmp_path / "a.py", tmp_path / "a.cu"
    python.write_text("def f():\n" + "    x = 1\n" * 70)
    c.write_text("static int g(int a,\n             int b) {\n" + "    a++;\n" * 70 + "}\n\nvoid declared(int a);\n")
    assert python_functions(python) == [("f", 71)] and c_functions(c)[0][1] == 73 and len(c_functions(c)) == 1


def report() -> str:
    """The numbers, as a table."""
    sizes = {path: lines_of(path) for path in product_files()}
    groups: dict[str, int] = {}
    for path, size in sizes.items():
        parts = path.relative_to(ROOT).parts
        name = "/".join(parts[:2]) if parts[0] == "convnet" and len(parts) > 2 else parts[0]
        groups[name] = groups.get(name, 0) + size
    functions = [lines for path in sizes for _, lines in functions_of(path)]
    lines = [f"{size:>7,}  {name}" for name, size in sorted(groups.items())]
    lines.append(f"{sum(sizes.values()):>7,}  lines in {len(sizes)} files, at most {BUDGET:,}")
    lines.append(
        f"{max(sizes.values()):>7,}  in the longest file, at most {FILE}; median {statistics.median(sizes.values()):g}"
    )
    lines.append(
        f"{max(functions):>7,}  in the longest function, at most {FUNCTION}; median {statistics.median(functions):g}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
