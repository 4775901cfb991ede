"""The reference page is current, and its examples are layers."""

import pytest
from support import ROOT

from convnet.errors import LayerFileError
from convnet.graph.loading import LayerFiles, build_graph
from convnet.layers import LAYER_TYPES
from convnet.layers.examples import CHAIN, CLASSES, DIMS, EXAMPLES, PARAMS, PRELUDE, PRELUDE_PARAMS
from convnet.layers.label_tree import LabelTree
from convnet.layers.reference_page import PAGE, page
from convnet.layers.weighted import WeightLayer


def build(definition, params):
    return build_graph(LayerFiles(definition, "def", params, "params"), DIMS, CLASSES, LabelTree.flat(CLASSES))


def test_page_is_current():
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(), "run: python -m convnet.layers.reference_page"


def test_every_key_of_every_type_is_there():
    text = page()
    for layer in LAYER_TYPES.values():
        section = text.split(f"\n### {layer.type}\n")[1].split("\n### ")[0]
        linked = text.split("\n## Keys of every layer\n")[1].split("\n## Layer types\n")[0]
        assert all(f"| `{key.name}` |" in section + linked for key in layer.keys)
        assert ("(#learning-keys)" in section) == issubclass(layer, WeightLayer)


def test_the_whole_net():
    assert not build(CHAIN, PARAMS).warnings


@pytest.mark.parametrize("type_", LAYER_TYPES)
def test_example(type_):
    definition, params = EXAMPLES[type_]
    try:
        graph = build(PRELUDE + definition, PRELUDE_PARAMS + params)
        found, warnings = graph.declared, graph.warnings
    except LayerFileError as error:
        # Examples show one layer; that nothing uses its output or that of the prelude is no fault of theirs.
        assert all("nothing uses this layer" in p.message for p in error.problems if p.severity == "error"), error
        warnings = [problem for problem in error.problems if problem.severity == "warning"]
        found = []
    assert not warnings
    assert not found or found[-1].type == type_
