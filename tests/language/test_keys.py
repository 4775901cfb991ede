"""Keys are declared once, as class attributes: their order, and what a derived class may change."""

from convnet.language.keys import REQUIRED, keys_of, one, per_input
from convnet.language.values import FLOAT, NAMES, Int


class Base:
    key_ranks = 1, 3
    inputs = one(NAMES, "")
    rate = one(FLOAT, "", home="params")
    size = one(Int(min=1), "", 5)


class Derived(Base):
    channels = per_input(Int(min=1), "", lambda values, i: 10 * i + values["size"])
    size = one(Int(min=1), "", 7)


class Smaller(Derived):
    key_ranks = 2, 4
    inputs = ["x"]
    last = one(FLOAT, "", 0.0, "params")
    middle = one(FLOAT, "", 0.0)


def names(layer_class):
    return [key.name for key in keys_of(layer_class)]


def test_keys_stand_in_the_order_of_ranks_then_of_declaration():
    assert names(Base) == ["inputs", "size", "rate"]
    assert names(Derived) == ["channels", "size", "inputs", "rate"]


def test_a_derived_class_redeclares_and_drops_keys():
    assert names(Smaller) == ["channels", "size", "middle", "rate", "last"]
    size = keys_of(Smaller)[1]
    assert size is keys_of(Derived)[1] and size.default == 7 and keys_of(Base)[1].default == 5


def test_defaults():
    inputs, _, rate = keys_of(Base)
    assert inputs.default is REQUIRED and rate.default is REQUIRED
    assert keys_of(Derived)[0].default_for({"size": 3}, 2) == [3, 13]
