"""How programs of 2011, 2012 and 2014 began a run, in their words: layers, options, devices (io sections 1.6, 2.1, 2.2)."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from convnet.checkpoint.layer_dicts import names_of, shared_acts, stored_graph
from convnet.checkpoint.op import given_values, values_for, values_of
from convnet.generation import G2011, G2012, G2014, Generation
from convnet.graph.graph import Graph
from convnet.language.values import WEIGHT_SOURCE
from convnet.layers import Layer
from convnet.layers.weighted import WeightLayer
from convnet.pickles import text_of
from convnet.pickles.python2 import dict_order
from convnet.texts import printable
from convnet.training import events
from convnet.training.session import Session

RULE = "========================="
_MODULES = {G2011: "_convnet", G2012: "_ConvNet", G2014: "cudaconvnet._ConvNet"}
_PLACES = {G2011: "", G2012: " on GPU {}", G2014: " on GPUs {}"}
_FOR_LOGISTIC = {"cost.bce", "cost.crossent2", "cost.dce", "cost.rflickr"}  # costs best on a layer with neuron=logistic
_UNCHOSEN, _ANY_DEVICE = -1, -2  # the devices of 2011 and 2012 where nobody chose one, and what they printed of them


def start_lines(event: events.RunBegin, generation: Generation) -> Iterator[str]:
    """Yield what a generation's programs print until the first batch."""
    session, graph = event.session, event.net.graph
    if event.drawn:
        for layer in (event.drawn.layers[name] for name in names_of(event.drawn, generation)):
            yield from _warning(layer)
            yield from layer_lines(layer, generation)
        if generation == G2014:
            yield from _buffer_lines(event.drawn)
    yield from sorted(event.edits, key=lambda line: not line.startswith("Converted"))
    yield from (RULE, f"Importing {_MODULES[generation]} C++ module")
    if generation == G2014:
        yield from _terminal_lines(graph)
    if session.options.test_only:
        return
    options = _options(session, graph, generation)
    yield from (RULE, "Training ConvNet", *_listing(options), RULE)
    gpus = options["gpu"]["value"]
    devices = [_ANY_DEVICE if gpu == _UNCHOSEN else gpu for gpu in (gpus if isinstance(gpus, list) else [gpus])]
    yield f"Running on CUDA device(s) {', '.join(map(str, devices))}"
    yield from (f"Current time: {time.asctime()}", f"Saving checkpoints to {session.folder.path}", RULE)


def _warning(layer: Layer) -> Iterator[str]:
    below = layer.sources[-1] if layer.sources else layer
    if layer.type in _FOR_LOGISTIC and not (below.detached_from and below.function == "logistic"):
        what = f"input '{below.name}' is not logistic"
        yield f"WARNING: Layer '{layer.name}': {what}, results may not be what you intend."


def layer_lines(layer: Layer, generation: Generation) -> Iterator[str]:
    """Yield where a layer's weights come from, unless they are drawn, and ``Initialized ...``."""
    if isinstance(layer, WeightLayer):
        for i, source in enumerate(layer.weightSource):
            if layer.initWFunc:
                yield f"Layer '{layer.name}[{i}]' initialized weight matrices from function {layer.initWFunc}"
            elif source:
                yield f"Layer '{layer.name}' initialized weight matrix {i} from {WEIGHT_SOURCE.write(source)}"
        if layer.initBFunc:
            yield f"Layer '{layer.name}' initialized bias vector from function {layer.initBFunc}"
    where = _PLACES[generation].format(", ".join(map(str, layer.gpu))) if layer.placed else ""
    size = "" if layer.is_cost else f", producing {layer.size_text()}"
    yield f"Initialized {layer.title} {'cost' if layer.is_cost else 'layer'} '{layer.name}'{where}{size}"


def _buffer_lines(graph: Graph) -> Iterator[str]:
    """Yield whose buffers hold the outputs of other layers, in the order in which Python 2 goes through a dict of names."""
    for name in dict_order(names_of(graph, G2014)):
        layer = graph.layers[name]
        for i in shared_acts(layer, G2014):
            yield f"Layer {name} using acts from layer {layer.sources[i].name}"


def _terminal_lines(graph: Graph) -> Iterator[str]:
    """Yield where 2014's engine ends forward and, for each part of a minibatch, backward passes (numerics 19)."""
    replicas = {stored["name"]: stored["numReplicas"] for stored in stored_graph(graph, G2014)}
    for name in sorted(replicas, key=str.encode):
        if not graph.layers[name].consumers:
            yield from [f"Fwd terminal: {name}"] * replicas[name]
    learning = graph.gradient_layers()
    costs = [(layer, device) for device in range(max(replicas.values())) for layer in graph.costs if device in layer.gpu]
    for part in range(max(replicas.values()) // min(replicas.values())):
        seen: set[tuple[str, int]] = set()
        waiting = [(cost.name, cost.gpu.index(device)) for cost, device in reversed(costs)]
        while waiting:
            name, replica = waiting.pop()
            layer = graph.layers[name]
            if (name, replica) in seen or not (name in learning or layer.is_cost):
                continue
            seen.add((name, replica))
            below = [source.name for source in layer.sources]
            before = max((replicas[other] for other in below), default=1)
            halves = part + 1 < before and before > replicas[name]
            if halves or learning.isdisjoint(below) or (layer.is_cost and not layer.learns):
                yield f"found bwd terminal {name}[{replica}] in passIdx={part}"
                continue
            inner = range(replica, before, replicas[name])
            waiting += reversed([(other, number) for number in inner for other in below if number < replicas[other]])


def _options(session: Session, graph: Graph, generation: Generation) -> dict[str, dict[str, Any]]:
    """Return what a generation's programs know of their options, by name: of the checkpoint's, and of those given now."""
    options = session.options
    values = values_for(generation, options, session.files, graph, options.save_path, session.train.name)
    if "save_file" in options.given and "save_path" not in options.given:
        values["save_path"] = None  # which it excuses
    parser = session.foreign.options_parser(generation, values, options.as_dict())
    known = {name: vars(option) for name, option in vars(parser)["options"].items()}
    for name, value in given_values(generation, options, values).items():
        if generation != G2014 or session.foreign.op is None or known[name].get("value") != value:  # else as it was
            known[name] |= {"value": value, "value_given": True}
    before = values_of(session.checkpoint.get("op")).get("gpu") if session.checkpoint else None
    if "gpu" not in options.given and isinstance(before, list) and before != [_UNCHOSEN] * len(before):
        known["gpu"] |= {"value": before, "value_given": True}  # which they inherited
    return known


def _listing(options: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each option: its description, its value, and ``[DEFAULT]`` or a blank."""
    rows = []
    for option in options.values():
        is_default = not option.get("value_given") and option.get("default") is not None
        rows.append((text_of(option.get("desc", "")), _value_text(option), "[DEFAULT]" if is_default else ""))
    width, value_width = max(len(desc) for desc, _, _ in rows), max((len(text) for _, text, mark in rows if mark), default=0)
    for desc, text, mark in sorted(rows):
        padding = " " * (value_width - len(text.encode("utf-8", "surrogateescape")))  # Python 2 counted bytes
        yield f"{desc:<{width}}: {text}{padding} {mark}"


def _value_text(option: Mapping[str, Any]) -> str:
    value, kind = option.get("value"), getattr(option.get("parser"), "legacy_class", "")
    if isinstance(value, list):
        is_range = kind.endswith(".RangeOptionParser") and value
        return f"{value[0]}-{value[-1]}" if is_range else ",".join(printable(text_of(item)) for item in value)
    if kind.endswith(".FloatOptionParser") and isinstance(value, int | float):
        return f"{value:.6g}"
    return "" if value is None else printable(text_of(value))
