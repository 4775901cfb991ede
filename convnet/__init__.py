"""convnet: Alex Krizhevsky's cuda-convnet, the engine behind AlexNet (2012), in Python.

``convnet.load`` and ``convnet.build`` give a ``convnet.Network``; they live in ``convnet.api``, which is imported when first
asked for, so that ``import convnet`` costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not that of typing, whose import is much of what a program does before it can answer signals
if TYPE_CHECKING:
    from typing import Any

    from convnet.api.network import Network, build, load

__version__ = "0.1.0"
__all__ = ["Network", "__version__", "build", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from convnet.api import network

        return getattr(network, name)
    raise AttributeError(f"module 'convnet' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
