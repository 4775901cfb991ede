"""The views of ``convnet shownet``, in the order of its help."""

from convnet.cli.views.cases import GRADIENTS, MAPS, PATCHES, PREDICTIONS, SIMILAR
from convnet.cli.views.confusion import CONFUSION
from convnet.cli.views.cost import COST
from convnet.cli.views.filters import FILTERS

VIEWS = (FILTERS, COST, PREDICTIONS, CONFUSION, GRADIENTS, MAPS, PATCHES, SIMILAR)
