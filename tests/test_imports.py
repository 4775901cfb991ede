"""The direction of imports: a package imports those below it and none above.

``python tests/test_imports.py`` writes the table of packages into docs/architecture.md.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
MARKS = "<!-- packages: written by tests/test_imports.py -->\n", "<!-- end of packages -->\n"

# From the ground up; packages of one line stand beside each other and do not import each other.
FLOORS = (
    ("texts", "interrupts", "generation", "arrays"),
    ("errors",),
    ("pickles", "storage"),
    ("language", "backends"),
    ("ranks",),
    ("options",),
    ("layers",),
    ("graph",),
    ("net",),
    ("data", "checkpoint", "planning"),
    ("training",),
    ("drawing",),
    ("inspection",),
    ("api",),
    ("pages",),
    ("cli",),
    ("run", "__main__", "__init__"),
)
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}
MOST_FILES = 8  # directly in ``convnet/``


def package_of(path: Path) -> str:
    relative = path.relative_to(ROOT / "convnet")
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(text: str) -> list[tuple[int, str]]:
    """(line, package) of every import from ``convnet``, wherever it stands, by name too; ruff refuses relative ones."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module == "convnet":
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("convnet."):
            found.append((node.lineno, node.module.split(".")[1]))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found += [(node.lineno, name) for name in re.findall(r"^f?'convnet\.(\w+)", ast.unparse(node.args[0]))]
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.split(".")[1]) for alias in node.names if alias.name.startswith("convnet.")]
    return found


def is_upward(importer: str, imported: str) -> bool:
    if importer == imported or imported not in LEVEL:  # a constant of ``convnet`` itself, such as its version
        return False
    return LEVEL[imported] >= LEVEL[importer]


def test_imports_go_down():
    upward = [
        f"{path.relative_to(ROOT)}:{line}: {package_of(path)} imports {imported}"
        for path in sorted((ROOT / "convnet").rglob("*.py"))
        for line, imported in imports_of(path.read_text(encoding="utf-8"))
        if is_upward(package_of(path), imported)
    ]
    assert not upward, "\n".join(upward)


def test_every_package_has_its_place():
    found = {package_of(path) for path in (ROOT / "convnet").rglob("*.py")}
    assert found == set(LEVEL)
    assert len(list((ROOT / "convnet").glob("*.py"))) <= MOST_FILES


def test_an_upward_import_is_found():
    text = "def f():\n    from convnet.net.net import Net\nimport convnet.cli.run\nfrom convnet import options\n"
    text += "importlib.import_module(f'convnet.api.{name}')\n"
    assert imports_of(text) == [(3, "cli"), (4, "options"), (2, "net"), (5, "api")]
    assert is_upward("language", "net") and is_upward("language", "backends") and not is_upward("net", "graph")


def packages_table() -> str:
    """A line for each package, from the top down: what lives there, and which others it imports."""
    lines = ["| package | what lives there | imports |", "|---|---|---|"]
    for name in reversed([name for floor in FLOORS for name in floor]):
        folder = ROOT / "convnet" / name
        file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        doc = (
            ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
            .split("\n\n")[0]
            .replace("\n", " ")
            .replace("``", "`")
        )
        texts = (path.read_text(encoding="utf-8") for path in (folder.rglob("*.py") if folder.is_dir() else [file]))
        used = {imported for text in texts for _, imported in imports_of(text)} & set(LEVEL) - {name}
        lines.append(
            f"| `{name}` | {doc} | {', '.join(sorted(used, key=lambda other: (-LEVEL[other], other))) or 'nothing'} |"
        )
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    start, end = (page.index(mark) for mark in MARKS)
    return page[: start + len(MARKS[0])] + packages_table() + page[end:]


def test_the_page_has_the_table():
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "run python tests/test_imports.py"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
