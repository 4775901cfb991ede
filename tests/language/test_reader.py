"""From entries to typed values: where a key is looked for, lists, defaults, ranges, and what is said of each mistake."""

import pytest

from convnet.language.diagnostics import Problems
from convnet.language.ini import read_ini
from convnet.language.keys import REQUIRED, keys_of, one, per_input
from convnet.language.reader import Reader
from convnet.language.toml import read_toml
from convnet.language.values import BOOL, FLOAT, INT, NAMES, Float, Int


class Example:
    inputs = one(NAMES, "", [])
    filters = per_input(Int(min=1), "")
    stride = per_input(Int(min=1), "", 1)
    side = per_input(INT, "", lambda values, i: values["filters"][i] + 1)
    shared = per_input(BOOL, "", True)
    keep = one(Float(min=0, max=1), "", 0.5)
    rate = one(FLOAT, "", home="params")
    size = one(INT, "", 3, aliases=("sizeX",))


KEYS = keys_of(Example)


def read(definition, params="[x]\nrate=1\n", native=False, strict=False):
    """(values, reader, problems) of layer ``x``."""
    problems = Problems(strict)
    parse, name = (read_toml, "d.toml") if native else (read_ini, "d.cfg")
    first = parse(definition, name, problems)
    second = read_ini(params, "p.cfg", problems) if params is not None else (first if native else None)
    reader = Reader("x", KEYS, first, second, problems)
    values = reader.read_all(KEYS)
    reader.report_unknown()
    return values, reader, problems


def messages(problems):
    return [(p.severity, p.place.file, p.place.line, p.place.column, p.nearest) for p in problems.items]


def test_defaults_and_lists():
    values, reader, problems = read("[x]\ninputs=a, b\nfilters=4,8\n")
    assert values["inputs"] == ["a", "b"] and values["filters"] == [4, 8]
    assert values["stride"] == [1, 1] and values["side"] == [5, 9] and values["shared"] == [True, True]
    assert (values["keep"], values["rate"], values["size"]) == (0.5, 1.0, 3)
    assert not problems.items and set(reader.places) == {"inputs", "filters", "rate"}


def test_one_value_serves_all_inputs():
    assert read("[x]\ninputs=a,b,c\nfilters=4\nstride=2\n")[0]["stride"] == [2, 2, 2]
    assert read('[layer.x]\ninputs=["a","b"]\nfilters=4\nrate=1', None, native=True)[0]["filters"] == [4, 4]


def test_a_key_in_the_other_file_is_found_its_own_file_first():
    values, _, problems = read("[x]\ninputs=a\nfilters=4\nrate=7\n", "[x]\nkeep=0.25\n")
    assert (values["rate"], values["keep"]) == (7.0, 0.25) and not problems.items
    assert read("[x]\ninputs=a\nfilters=4\nrate=7\n", "[x]\nrate=8\n")[0]["rate"] == 8.0
    assert read("[x]\ninputs=a\nfilters=4\nkeep=0.75\n", "[x]\nrate=1\nkeep=0.25\n")[0]["keep"] == 0.75


def test_aliases_and_case():
    assert read("[x]\ninputs=a\nFILTERS=4\nsizex=9\n")[0]["size"] == 9


@pytest.mark.parametrize(
    "definition, params, line, column, nearest",
    [
        ("[x]\ninputs=a\nfilters=4.5\n", "[x]\nrate=1\n", 3, 9, ""),
        ("[x]\ninputs=a,b\nfilters=4, 0\n", "[x]\nrate=1\n", 3, 12, ""),  # the second one is too small
        ("[x]\ninputs=a,b\nfilters=4,5,6\n", "[x]\nrate=1\n", 3, 9, ""),
        ("[x]\ninputs=a\nfilters=4\nkeep=1.5\n", "[x]\nrate=1\n", 4, 6, ""),
        ("[x]\ninputs=a\nfiltres=4\n", "[x]\nrate=1\n", 3, 1, "filters"),  # misspelt, so missing: said once
        ("[x]\ninputs=a\n", "[x]\nrate=1\n", 1, 1, ""),
        ("[x]\ninputs=a\nfilters=%(none)s\n", "[x]\nrate=1\n", 3, 9, ""),
        ("[x]\ninputs=a\nfilters=4\n", "[x]\nrats=1\n", 2, 1, "rate"),
        ("[x]\ninputs=a\nfilters=4\n", "[DEFAULT]\nrats=1\n[x]\n", 2, 1, "rate"),
    ],
)
def test_one_message_at_its_place(definition, params, line, column, nearest):
    _, reader, problems = read(definition, params)
    file = "p.cfg" if "rats" in params else "d.cfg"
    assert messages(problems) == [("error", file, line, column, nearest)] and len(reader.failed) == 1


@pytest.mark.parametrize("strict, severity", [(False, "warning"), (True, "error")])
@pytest.mark.parametrize("line, nearest", [("shared=yes,1", ""), ("keeps=0.1", "keep"), ("zzz=1", "")])
def test_what_the_originals_let_pass(strict, severity, line, nearest):
    definition = f"[x]\ninputs=a,b\nfilters=4\n{line}\n"
    values, _, problems = read(definition, "[x]\nrate=1\n", strict=strict)
    assert [(p.severity, p.nearest) for p in problems.items] == [(severity, nearest)]
    assert line[:6] != "shared" or values["shared"] == [False, True]


def test_a_definition_alone_learns_nothing():
    assert read("[x]\ninputs=a\nfilters=4\n", None)[0]["rate"] == 0.0


def test_a_missing_section_is_left_to_who_knows_both_files():
    values, reader, problems = read("[x]\ninputs=a\nfilters=4\n", "[other]\nrate=1\n")
    assert values["rate"] is None and reader.failed == {"rate"} and not problems.items


def test_a_computed_default_waits_for_what_it_needs():
    values, _, problems = read("[x]\ninputs=a\nfilters=x\n")
    assert values["side"] is None and len(problems.items) == 1


@pytest.mark.parametrize("text", ["filters = 4.0", 'filters = "x"', "filters = true", "filters = [[1]]", "filters = 1e400"])
def test_toml_values_of_another_kind(text):
    _, _, problems = read(f'[layer.x]\ninputs = "a"\nrate = 1\n{text}\n', None, native=True)
    assert [(p.place.line, p.place.column) for p in problems.errors] == [(4, 11)]


def test_toml_numbers_without_end():
    digits = "9" * 400
    _, _, problems = read(f'[layer.x]\ninputs = "a"\nfilters = {digits}\nrate = {digits}\n', None, native=True)
    assert [p.place.line for p in problems.errors] == [3, 4]


def test_required_is_no_default():
    assert all(key.default is REQUIRED for key in KEYS if key.name in ("filters", "rate"))
