"""``docs/layer-files.md`` from the declarations: ``python -m convnet.layers.reference_page`` writes it anew."""

import inspect
from collections.abc import Iterable
from pathlib import Path

from convnet.generation import GENERATIONS, Generation
from convnet.language.keys import REQUIRED, Key
from convnet.language.neurons import TYPES
from convnet.language.schedules import PARAMS as SCHEDULE_PARAMS
from convnet.layers import LAYER_TYPES, Layer
from convnet.layers.examples import CHAIN, EXAMPLES, PARAMS
from convnet.layers.weighted import WeightLayer
from convnet.options import OPTIONS
from convnet.texts import counted

PAGE = Path("docs", "layer-files.md")  # from the root of a checkout
_LEARNING = [key for key in WeightLayer.keys if key not in Layer.keys]

_OPENING = """# Layer files

Made by `python -m convnet.layers.reference_page` from the declarations of the layers; do not edit it.

A net is two text files. The **definition** (`layers-X.cfg`) lists its layers; each stands below those it reads.
The **parameters** (`layer-params-X.cfg`) hold, under the same names, what may change while training goes on. A whole net:

```ini
{chain}```

and its parameters:

```ini
{params}```

## How the text is read

- `[name]` opens a layer; `key=value` or `key: value` gives it a key. Keys ignore case, names and types do not.
- `#` or `;` in the first column makes the line a comment. Behind a value only a `;` after white space does.
- An indented line goes on with the value above it.
- Sections of one name are one section; of two equal keys the last holds. Both are warnings, with `--strict` errors.
- `[DEFAULT]` gives its keys to every section.
- `%(key)s` stands for another key of the section, `%(__name__)s` for its name, `%%` for a percent sign.
- A key that is marked *per input* takes one value for every input, separated by commas, or one for all.
- `num_classes` may stand for a size that says so in the tables below: the number of classes of the data. Where there are
  none, `explain`, `draw` and the like take `--num-classes`, or assume 10 and say so. The originals know numbers only;
  `convnet convert DEF --to 2012 --num-classes 12` writes one.
- A key in the wrong one of both files is found there too. A key that no layer reads is a warning, with `--strict` an error.

{run}## Functions for initial weights

`initWFunc=mine.weights(0.5)` calls `weights` of the file `mine.py` beside the layer file, as `initBFunc` and `initCFunc` do.
That is the one thing in a layer file that runs code, and a layer file that somebody gave you may come with such a file. So
only `convnet run` does it, and only with `--allow-init-code` on its command line or after a question on a terminal; in
Python, `convnet.build(..., allow_init_code=True)`. Nothing remembers the permission. Every other verb reads such a file
without running anything, `bench` measures with drawn weights, and a run that goes on has its weights in its checkpoint.

The functions of `initw` need no permission, for they only read numbers and checkpoints, which execute nothing: `makew`,
`makewcat`, `makeb`, `makebcat`, `makeb_vec`, `makec`. An `initw.py` beside the layer file goes before them, and needs it.

Many files of 2012 take their first weights from a checkpoint that was never published. `convnet run --init-funcs draw`, in
Python `convnet.build(..., init_funcs="draw")`, calls no function: weights are drawn with the deviation `initW`, where that
is 0 with that of the layer's next input, of the next layer of its type, or 0.01, and biases are `initB`; a line for each
layer says so.

## Three generations

The files of 2011, 2012 and 2014 are told apart by their types and keys, or by `--dialect`. *Read by* says whose parser knew
a key; the others ignored it. `convnet convert DEF --to toml|2011|2012|2014` translates, and says what it could not keep.

## TOML

The same layers as tables in file order, with native numbers, lists and `true`/`false`; `[default]` is shared by all.
Definition and parameters stand in one file, or in two.

```toml
[layer.fc10]
type = "fc"
inputs = ["pool1"]
outputs = 10
initW = [0.01]
epsW = "dexp[base=0.01;tgtFactor=250;numSteps=4]"
epsB = 0.002
momW = [0.9]
momB = 0.9
```

"""


def page() -> str:
    """Return the page as Markdown."""
    weighted = ", ".join(_link(layer) for layer in LAYER_TYPES.values() if issubclass(layer, WeightLayer))
    neurons = [f"| `{one.spelling}` | {_escape(one.formula)} | {_generations(one.read_by)} |\n" for one in TYPES.values()]
    parts = [_OPENING.format(chain=CHAIN, params=PARAMS, run=_run())]
    parts += ["## Neurons: `neuron=`\n\n| spelling | function | read by |\n|---|---|---|\n", *neurons]
    parts += ["\n", _schedules(), "## Keys of every layer\n\n", _table(Layer.keys)]
    parts += [f"\n## Learning keys\n\nKeys of every layer with weights: {weighted}.\n\n", _table(_LEARNING)]
    parts += ["\n## Layer types\n\n", *(f"- {_link(layer)}: {_summary(layer)}\n" for layer in LAYER_TYPES.values()), "\n"]
    parts += [_layer(layer) for layer in LAYER_TYPES.values()]
    return "".join(parts)


def _run() -> str:
    text = """## How long a run is, and on what: `[run]`

The parameter file may say in a section `[run]`, a TOML file in a table `[run]`, with which options its net is trained:

```ini
[run]
epochs=60
inner-size=24
```

They hold where neither the command line nor `--config` says otherwise, and over what a checkpoint had if the file is named,
or has changed, since. `[DEFAULT]` gives the section nothing, and `%(...)s` is not replaced in it. Where a layer is called
`run`, it is that layer's. The originals look at no section but those of layers. What may stand there:

| option | meaning |\n|---|---|\n"""
    options = [option for option in OPTIONS if option.in_section]
    return text + "".join(f"| `{option.flag[2:]}` | {_escape(option.help)} |\n" for option in options) + "\n"


def _schedules() -> str:
    text = """## Learning rates that change

2012 gave the base in `epsW` and its course in `schedW` (`schedB` for biases):
`schedW=dexp[tgtFactor=250,noiseStdev=0,numSteps=4]`.
2014 gave both at once: `epsW=dexp[base=0.01;tgtFactor=250;numSteps=4]`. Earlier files leave the names out: `dexp[250,0,4]`.
P runs from 0 to 1 over the training; T is `tgtFactor`, the factor by which the rate ends up smaller.

| schedule | parameters |\n|---|---|\n"""
    rows = [f"| `{name}` | {', '.join(f'`{w}`' for w in words) or 'none'} |\n" for name, words in SCHEDULE_PARAMS.items()]
    return text + "".join(rows) + "\n"


def _link(layer: type[Layer]) -> str:
    return f"[`{layer.type}`](#{layer.type.replace('.', '')})"


def _summary(layer: type[Layer]) -> str:
    return " ".join((inspect.getdoc(layer) or "").split("\n\n")[0].split())


def _layer(layer: type[Layer]) -> str:
    definition, params = EXAMPLES[layer.type]
    own = [key for key in layer.keys if key not in Layer.keys and key not in _LEARNING]
    parts = [f"### {layer.type}\n\n{_summary(layer)} {_inputs(layer)} Read by: {_generations(layer.read_by)}."]
    if issubclass(layer, WeightLayer):
        parts.append(" It also has the [learning keys](#learning-keys).")
    parts += ["\n\n", _table(own) + "\n" if own else "", f"```ini\n{definition}```\n\n"]
    if params:
        parts.append(f"Parameters:\n\n```ini\n{params}```\n\n")
    return "".join(parts)


def _inputs(layer: type[Layer]) -> str:
    if layer.max_inputs == 0:
        return "Takes no input."
    if layer.max_inputs is None:
        return f"Takes {layer.min_inputs} or more inputs."
    return f"Takes {counted(layer.max_inputs, 'input')}."


def _table(keys: Iterable[Key]) -> str:
    rows = "| key | meaning | value | default | file | read by |\n|---|---|---|---|---|---|\n"
    for key in keys:
        meaning = key.help + (f" (also `{'`, `'.join(key.aliases)}`)" if key.aliases else "")
        value = key.kind.word + (f", {key.kind.range_text()}" if key.kind.range_text() else "") + ", per input" * key.each
        cells = f"`{key.name}`", _escape(meaning), _escape(value), _default(key), key.home, _generations(key.read_by)
        rows += f"| {' | '.join(cells)} |\n"
    return rows


def _default(key: Key) -> str:
    if key.default is REQUIRED:
        return "**required**"
    if callable(key.default):
        return "computed"
    if key.default is None or key.default in ("", []):
        return "none"
    return f"`{key.kind.write(key.default)}`"


def _generations(generations: tuple[Generation, ...]) -> str:
    return "all" if generations == GENERATIONS else ", ".join(generations) or "convnet only"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
