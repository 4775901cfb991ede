"""The views of ``convnet shownet``, one file each, in the order of its help."""

from convnet.cli.views import confusion, cost, filters, maps, preds
from convnet.cli.views.view import DATA_OPTIONS, FIRST, Flag, View, data_options

VIEWS = (filters.VIEW, cost.VIEW, preds.VIEW, confusion.VIEW, maps.VIEW)

__all__ = ["DATA_OPTIONS", "FIRST", "VIEWS", "Flag", "View", "data_options"]
