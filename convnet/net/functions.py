"""Functions that layer files name for initial weights: ``module.function(a,b)`` (numerics 15.3).

A module is a file beside the layer file, which is code of whoever wrote it: the caller of ``initial_state`` says whether it
may run. Or it is ``initw``, of which the functions in ``PUBLIC`` read checkpoints and numbers, and nothing else of this
package.
"""

import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from convnet.errors import ConvnetError
from convnet.texts import did_you_mean

_INITW = Path(__file__).resolve().parents[1] / "checkpoint" / "initw.py"  # of a package further up
_PUBLIC = ("makew", "makewcat", "makeb", "makebcat", "makeb_vec", "makec")
_SPEC = re.compile(r"([\w.]+)\.(\w+)(?:\((.*)\))?")


def module_beside(folder: Path, spec: str) -> Path | None:
    """Return the file in or below ``folder`` that ``spec`` names, or ``None`` if there is none."""
    match = _SPEC.fullmatch(spec)
    names = match[1].split(".") if match else []
    if not names or not all(name.isidentifier() for name in names):
        return None
    path = folder.joinpath(*names).with_suffix(".py")
    return path if path.is_file() else None


def call_function(folder: Path, spec: str, shape: tuple[int, int] | None, name: str, *arguments: Any) -> Any:
    """Call ``module.function(a,b)`` as the originals did, with ``params=['a', 'b']``; check the result's ``shape``.

    ``name`` is that of the layer. Raises ``ConvnetError``, whatever the function does.
    """
    match = _SPEC.fullmatch(spec)
    assert match
    function = _find_function(folder, spec, name)
    params = [part.strip() for part in match[3].split(",")] if match[3] else []
    try:
        result = function(name, *arguments, **({"params": params} if params else {}))
    except ConvnetError as error:
        raise ConvnetError(f"layer '{name}': {spec}: {error}") from None
    except Exception as error:
        raise ConvnetError(f"layer '{name}': {spec} failed{_where(error)}: {type(error).__name__}: {error}") from error
    if shape is None or (isinstance(result, np.ndarray) and result.shape == shape and result.dtype == np.float32):
        return result
    returned = f"{result.dtype} {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
    raise ConvnetError(f"layer '{name}': {spec} returned {returned}; it must return a float32 array of shape {shape}")


def _find_function(folder: Path, spec: str, name: str) -> Callable[..., Any]:
    """Return a function from a file beside the layer file, or one of ``initw``, and from nowhere else."""
    module, function = spec.partition("(")[0].rpartition(".")[::2]
    path = module_beside(folder, spec)
    if path is None and module == "initw":
        if function not in _PUBLIC:
            raise ConvnetError(f"layer '{name}': initw has no function '{function}'" + did_you_mean(function, _PUBLIC))
        path = _INITW
    if path is None:
        raise ConvnetError(f"layer '{name}': no module {module}.py beside the layer file ({folder}), which {spec} asks for")
    result = getattr(_load_module(module, path, path.stat().st_mtime_ns), function, None)
    if callable(result):
        return result
    raise ConvnetError(f"layer '{name}': {path} has no function '{function}', which {spec} asks for")


@lru_cache
def _load_module(name: str, path: Path, modified: int) -> ModuleType:  # noqa: ARG001 (part of the cache's key)
    """Return the module in a file, run once as long as the file does not change."""
    spec = importlib.util.spec_from_file_location(f"convnet_init_{name.replace('.', '_')}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConvnetError(f"{path} cannot be imported{_where(error)}: {type(error).__name__}: {error}") from error
    return module


def _where(error: Exception) -> str:
    """Return `` at FILE:LINE``: where an init function raised ``error``."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f" at {frame.filename}:{frame.lineno}"
