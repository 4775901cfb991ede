"""Tiles that were measured: ``cuda/tiles-sm_90.toml`` and its like, for exactly the products that they list.

A table holds for devices of one capability and one number of multiprocessors, and for the kernels that were timed: which
tile is the fastest changes with the loop inside. Where it has a product, it wins over the cost model of ``tiles.py``; a
convolution that none lists is left to the model. ``benchmarks/card/tune.py`` writes tables.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from convnet.backends.cuda.source import folder, read
from convnet.backends.cuda.tiles import Tile, tiles_for
from convnet.errors import BackendError

KINDS = ("forward", "input_grad", "weight_grad")
MATH = ("float32", "tf32")
DEPTHS, STAGES = (8, 16, 32), (2, 3, 4, 5)
SIDES = ("BM", "BN", "own_m", "own_n", "BK", "STAGES")  # of a tile, as a row of a table has them
_MOST_SHARED = 227 << 10  # bytes that a block of any device may have


class Products(NamedTuple):
    """The matrix products of a pass: ``rows`` x ``columns``, sums of ``depth`` products, at ``places`` in ``groups``.

    Of weight gradients the places are windows, which are added up, and a window's depth is the number of cases.
    """

    kind: str
    math: str
    rows: int
    columns: int
    depth: int
    places: int
    groups: int


class Choice(NamedTuple):
    """A tile, and of weight gradients how many windows a part sums over."""

    tile: Tile
    windows: int = 1


class Head(NamedTuple):
    """What a table holds for."""

    capability: int
    multiprocessors: int
    kernels: str  # ``digest_of_kernels`` of those that were timed


Table = Mapping[Products, Choice]


@cache
def table_for(capability: int, multiprocessors: int) -> Table:
    """Return the shipped table for a device, an empty one if there is none; raises as ``read_table`` does."""
    path = folder() / f"tiles-sm_{capability}.toml"
    if not path.is_file():
        return {}
    head, table = read_table(path)
    return table if head == (capability, multiprocessors, digest_of_kernels()) else {}


@cache
def digest_of_kernels() -> str:
    """Return a digest of the code of ``conv.cu`` with all that it includes, without comments and line breaks."""
    code = re.sub(r"//[^\n]*|#line[^\n]*", "", read("conv.cu"))
    return hashlib.sha256(" ".join(code.split()).encode()).hexdigest()[:16]


def read_table(path: Path) -> tuple[Head, Table]:
    """Read a table: what it holds for, and its choices; raises ``BackendError`` naming the key."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackendError(f"{path}: {error}") from None
    capability, multiprocessors = (_number(path, content, name) for name in Head._fields[:2])
    kernels = content.get("kernels")
    if not isinstance(kernels, str):
        raise BackendError(f"{path}: kernels: expected the digest of kernels that tune.py writes")
    rows = content.get("tile", [])
    if unknown := sorted(content.keys() - {*Head._fields, "tile"}):
        raise BackendError(f"{path}: {unknown[0]}: no such key")
    if not isinstance(rows, list):
        raise BackendError(f"{path}: tile: expected a list of tables")
    table: dict[Products, Choice] = {}
    for i, row in enumerate(rows):
        products, choice = _entry(path, f"tile[{i}]", row)
        if products in table:
            raise BackendError(f"{path}: tile[{i}]: these products were listed before")
        table[products] = choice
    return Head(capability, multiprocessors, kernels), table


def _entry(path: Path, where: str, row: Any) -> tuple[Products, Choice]:
    if not isinstance(row, dict):
        raise BackendError(f"{path}: {where}: expected a table")
    weights = row.get("kind") == "weight_grad"
    names = [*Products._fields, *SIDES, *(["windows"] if weights else [])]
    if unknown := sorted(row.keys() - set(names)):
        raise BackendError(f"{path}: {where}.{unknown[0]}: no such key")
    for name, allowed in (("kind", KINDS), ("math", MATH)):
        if row.get(name) not in allowed:
            raise BackendError(f"{path}: {where}.{name}: expected one of {', '.join(allowed)}, not {row.get(name)!r}")
    numbers = {name: _number(path, row, name, f"{where}.") for name in names[2:]}
    tensor = row["math"] == "tf32"
    tile = Tile(**{name: numbers[name] for name in SIDES}, tensor=tensor, k_major=weights)
    own = tile.BM, tile.BN, tile.own_m, tile.own_n
    if own not in [(tile.BM, tile.BN, tile.own_m, tile.own_n) for tile in tiles_for(tensor, weights)]:
        raise BackendError(f"{path}: {where}: BM, BN, own_m, own_n: {own} are those of no tile in such a product")
    for name, known in (("BK", DEPTHS[tensor:]), ("STAGES", STAGES)):
        if numbers[name] not in known:
            raise BackendError(f"{path}: {where}.{name}: expected one of {', '.join(map(str, known))}, not {numbers[name]}")
    if tile.shared > _MOST_SHARED:
        raise BackendError(f"{path}: {where}: BK, STAGES: {tile.shared} bytes of shared memory are more than a block has")
    if weights and numbers["windows"] > numbers["places"]:
        raise BackendError(f"{path}: {where}.windows: {numbers['windows']} are more than its {numbers['places']} places")
    products = Products(row["kind"], row["math"], *(numbers[name] for name in Products._fields[2:]))
    return products, Choice(tile, numbers.get("windows", 1))


def _number(path: Path, values: Mapping[str, Any], name: str, where: str = "") -> int:
    value = values.get(name)
    if type(value) is not int or value < 1:
        raise BackendError(f"{path}: {where}{name}: expected a whole number from 1, not {value!r}")
    return value
