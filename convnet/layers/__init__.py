"""What each type of layer is: keys, shape rule, checks, forward and backward in terms of ops. No arrays, no device.

``LAYER_TYPES`` has them by name. A new type is one class in a module of this folder; a new module is named here.
"""

from convnet.layers import conv, cost, data, dropout, eltwise, fc, image, local, neuron, norm, pool
from convnet.layers.base import Layer

# In the order of the reference page; within a module that of its classes.
_FAMILIES = (data, conv, local, fc, pool, norm, neuron, dropout, eltwise, image, cost)

LAYER_TYPES: dict[str, type[Layer]] = {
    item.type: item
    for family in _FAMILIES
    for item in vars(family).values()
    if isinstance(item, type) and issubclass(item, Layer) and item.type
}

__all__ = ["LAYER_TYPES", "Layer"]
