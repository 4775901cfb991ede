"""Every kind of name misspelt, in the files of every generation and in TOML: one message each, with line and name."""

from __future__ import annotations

from itertools import combinations

import pytest
from nets import DATA, cost_of

from convnet.errors import LayerFileError
from convnet.graph.loading import LayerFiles, build_graph, parse
from convnet.graph.writer import TARGETS, write_files

DEFINITION = f"""{DATA}[conv1]
type=conv
inputs=data
channels=3
filters=8
filterSize=5
padding=2
initW=0.1
neuron=relu
gpu=0
[pool1]
type=pool
pool=max
inputs=conv1
channels=8
sizeX=3
stride=2
[local2]
type=local
inputs=pool1
channels=8
filters=4
filterSize=3
initW=0.1
[upper]
type=fc
inputs=local2
outputs=10
initW=0.1
[lower]
type=fc
inputs=local2
outputs=10
initW=0.1
weightSource=upper
[added]
type=eltsum
inputs=upper,lower
{cost_of("added")}"""
RATES = "epsW={}\nepsB=0.2\nmomW=0.9\nmomB=0.9\nwc=0.1\n"
SCHEDULE = "dexp[base=0.1;tgtFactor=10;numSteps=2]"
PARAMS = f"[conv1]\n{RATES.format(SCHEDULE)}" + "".join(
    f"[{name}]\n{RATES.format(0.1)}" for name in ("local2", "upper", "lower")
)
PARAMS += "[logprob]\ncoeff=1\n[added]\n"
DIMS = {0: 3 * 24 * 24, 1: 1}

# mistake: (right, wrong, nearest); a text that stands in no file of a target is no mistake there. Only one of them
# may stand in one section.
MISTAKES = {
    "type": [("type=softmax", "type=sotfmax", "softmax")],
    "cost": [("type=cost.logreg", "type=cost.logregg", "cost.logreg")],
    "key": [("filterSize=3", "filtrSize=3", "filterSize")],
    "input": [("inputs=upper,lower", "inputs=uper,lower", "upper")],
    "neuron": [("neuron=relu", "neuron=rellu", "relu")],
    "pool": [("pool=max", "pool=maxx", "max")],
    "weightSource": [("weightSource=upper", "weightSource=uper", "upper")],
    "schedule": [
        (f"epsW={SCHEDULE}", f"epsW={SCHEDULE.replace('dexp', 'dxp')}", "dexp"),
        ("schedW=dexp", "schedW=dxep", "dexp"),
    ],
    "section": [("[upper]\nepsW", "[uppper]\nepsW", "upper")],
    "rate": [("momW=0.9", "momeW=0.9", "momW")],
}
APART = {"neuron": "schedule", "weightSource": "input"}  # of one section, or of one name


def native(text: str) -> str:
    """An entry as the TOML files have it."""
    key, _, value = text.partition("=")
    if value[0].isdigit():
        return f"{key} = [{value}"
    return f'{key} = ["' + value.replace(",", '", "') if key in ("inputs", "weightSource", "epsW") else f'{key} = "{value}'


def files_of(target: str) -> dict[str, str]:
    written = write_files(parse(LayerFiles(DEFINITION, "d", PARAMS, "p")), target)
    return {"d": written.definition, "p": written.params or ""}


def spoil(texts: dict[str, str], name: str, target: str) -> tuple[str, int, str] | None:
    """Make a mistake in the texts: (file, line, nearest name); ``None`` where there is nothing to misspell."""
    for right, wrong, nearest in MISTAKES[name]:
        if target == "toml":
            right, wrong = (
                ("[layer.upper]\nepsW", "[layer.uppper]\nepsW") if name == "section" else (native(right), native(wrong))
            )
        for file, text in texts.items():
            at = text.rfind(right)
            if at >= 0:
                texts[file] = text[:at] + wrong + text[at + len(right) :]
                return f"{file}.cfg", text.count("\n", 0, at) + 1, nearest
    return None


CHOICES = [
    names for names in combinations(MISTAKES, 5) if not any(one in names and other in names for one, other in APART.items())
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("names", CHOICES[:: len(CHOICES) // 12], ids="+".join)
def test_five_names(names, target):
    texts = files_of(target)
    made = [spoil(texts, name, target) for name in names]
    wanted = [mistake for mistake in made if mistake]
    assert len(wanted) >= 4
    ending = ".toml" if target == "toml" else ".cfg"
    with pytest.raises(LayerFileError) as caught:
        build_graph(LayerFiles(texts["d"], "d" + ending, texts["p"], "p" + ending), DIMS, 10)
    found = [(p.place.file.replace(ending, ".cfg"), p.place.line, p.nearest) for p in caught.value.problems]
    if "section" in names:  # also the layer that now lacks one
        found = [one for one in found if one[2]]
    assert found == sorted(wanted)
