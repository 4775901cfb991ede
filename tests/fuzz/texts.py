"""Targets: layer files, and steps of the nets that they describe."""

import random
from contextlib import suppress
from pathlib import Path

from corpus import layer_files

from convnet.checkpoint.layer_dicts import stored_net
from convnet.data.random import synthesize
from convnet.errors import LayerFileError, NumericalError
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.graph.table import layer_table
from convnet.graph.writer import TARGETS as DIALECTS
from convnet.graph.writer import write_files
from convnet.language.files import read_text, shipped_folder
from convnet.layers.examples import CHAIN, CLASSES, DIMS, EXAMPLES, PARAMS
from convnet.net.net import Net
from fuzz.checkpoints import NET, RATES
from fuzz.mutations import mutate_bytes, mutate_text
from fuzz.target import BE, Target

PIECES = ["", "0", "-1", "1", "3", "7", "2.5", "10000000000", "1e999", "nan", "text", "1,2", "1,2,", "[", "]", "dexp[",
          "%", "%(x)s", "é", "\x00", "\ufeff", "9" * 30, "true", '"', "'''", "a.b = 1", ";", "#", "\r", "\t", "[DEFAULT]",
          "[x]", "fc", "data", "relu", "tanh[1e308,1e308]", "fc[99999999999]", "fc[0]", "linear[base=1;tgtFactor=0]",
          "initw.makew(x)", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "😀"]  # fmt: skip


class LayerTexts(Target):
    """Accidents in layer files: of examples of every type of layer, and of shipped and historical files."""

    name = "layer-files"
    ending = ".cfg"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known = [(CHAIN + definition, PARAMS + (params or "")) for definition, params in EXAMPLES.values()]
        for definition in self.files():
            params = definition.with_name(definition.name.replace("layers", "layer-params", 1))
            self.known.append((read_text(definition), read_text(params) if params.is_file() else PARAMS))

    def files(self) -> list[Path]:
        """The definitions that lie beside parameters of their name, or have none."""
        paths = [*shipped_folder("layers-cfg").glob("layers-*.cfg"), *layer_files()]
        return sorted(path for path in paths if path.name.startswith("layers"))

    def case(self, rng: random.Random, clean: bool = False) -> None:
        pair = list(rng.choice(self.known))
        if not clean:
            wrong = rng.randrange(2)
            pair[wrong] = mutate_text(pair[wrong], rng, PIECES)
            if rng.random() < 0.1:
                pair[wrong] = mutate_bytes(pair[wrong].encode(), rng).decode("utf-8", "replace")
        files = LayerFiles(pair[0], f"net{self.ending}", rng.choice((pair[1], pair[1], None)), f"params{self.ending}")
        dialect = rng.choice(("auto", "2011", "2012", "2014"))
        try:
            builder = parse(files, dialect, rng.random() < 0.2)
            graph = infer_data(builder).graph if rng.random() < 0.5 else builder.shape(DIMS, CLASSES, None)
        except LayerFileError as error:
            assert all(problem.render(color=True) for problem in error.problems)
            return
        assert layer_table(graph) and layer_table(graph, 2, 60) and stored_net(graph)
        assert write_files(parse(files, dialect), rng.choice(list(DIALECTS))).definition


class TomlTexts(LayerTexts):
    """Accidents in layer files written as TOML."""

    name = "toml"
    ending = ".toml"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known = [self.converted(*pair) for pair in self.known]
        self.known = [pair for pair in self.known if pair]

    def files(self) -> list[Path]:
        return [shipped_folder("layers-cfg") / name for name in ("layers-digits.cfg", "layers-cifar10-13pct.cfg")]

    def converted(self, definition: str, params: str):
        try:
            written = write_files(parse(LayerFiles(definition, "d.cfg", params, "p.cfg")), "toml")
        except LayerFileError:
            return None
        return written.definition, written.params or ""


class Trained(Target):
    """Layer files of accidents whose nets are small enough make one step on random data."""

    name = "steps"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known = [(NET, RATES)]
        for definition, params in EXAMPLES.values():
            self.known.append((CHAIN + definition, PARAMS + (params or "")))

    def case(self, rng: random.Random, clean: bool = False) -> None:
        definition, params = self.known[0] if clean else rng.choice(self.known)
        if not clean:
            definition, params = mutate_text(definition, rng, PIECES[:12]), mutate_text(params, rng, PIECES[:12])
        fitted = synthesize(parse(LayerFiles(definition, "net.cfg", params, "params.cfg")))
        graph = fitted.graph
        if sum(layer.outputs for layer in graph.layers.values()) > 10**5 or graph.parameters() > 10**5:
            return
        if any("initw" in str(getattr(layer, "initWFunc", "")) for layer in graph.layers.values()):
            return
        with suppress(NumericalError):
            Net(graph, BE, 2, 1).train(fitted.matrices(2), 2)
