"""The views of ``convnet shownet``, one file each, in the order of its help."""

from convnet.cli.views import cost, filters, maps, patches, preds
from convnet.cli.views.view import DATA_OPTIONS, FIRST, Flag, View, data_options

VIEWS = (filters.VIEW, cost.VIEW, preds.VIEW, maps.VIEW, patches.VIEW)

__all__ = ["DATA_OPTIONS", "FIRST", "VIEWS", "Flag", "View", "data_options"]
