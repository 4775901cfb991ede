"""convnet: Alex Krizhevsky's cuda-convnet, the engine behind AlexNet (2012), in Python.

    >>> import convnet
    >>> net = convnet.load("checkpoints")                                   # the newest checkpoint of a folder
    >>> net.predict(["cat.jpg"]).argmax(axis=1), net.classes

    >>> net = convnet.build("layers-cifar10-26pct.cfg", side=32)            # a new net, of pictures of 32 by 32
    >>> net.train(pictures, labels, epochs=5, progress=True)

What goes wrong is a ``convnet.errors.ConvnetError``, whose text says what to do. ``docs/python.md`` is a tour.
"""

# ``convnet.api`` is imported when first asked for, so that ``import convnet`` costs nothing.

from __future__ import annotations

TYPE_CHECKING = False  # not that of typing, whose import is much of what a program does before it can answer signals
if TYPE_CHECKING:
    from typing import Any

    from convnet.api.network import Network, StopTraining, build, load

__version__ = "0.1.0"
__all__ = ["Network", "StopTraining", "__version__", "build", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from convnet.api import network

        return getattr(network, name)
    raise AttributeError(f"module 'convnet' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
