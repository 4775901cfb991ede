"""The views of ``convnet shownet``, one file each, in the order of its help."""

from convnet.cli.views import confusion, cost, data_grad, filters, maps, patches, preds, similar
from convnet.cli.views.view import DATA_OPTIONS, FIRST, Flag, View, data_options

VIEWS = (
    *(filters.VIEW, cost.VIEW, preds.VIEW, confusion.VIEW, data_grad.VIEW),
    *(maps.VIEW, patches.VIEW, similar.VIEW),
)

__all__ = ["DATA_OPTIONS", "FIRST", "VIEWS", "Flag", "View", "data_options"]
