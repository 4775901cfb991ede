"""How a layer class declares the keys it reads: once, for the parser, messages, writers, reference page and type checker.

    class Pool(Layer):
        sizeX = one(Int(min=1), "side of the window")

In the class such a name is a ``Key``; in a layer, whose own attributes go before those of its class, the typed value.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

from convnet.generation import GENERATIONS, Generation
from convnet.language.values import Kind

T = TypeVar("T")
Home = Literal["def", "params"]
REQUIRED: Any = object()  # the default of a key that has none


@dataclass(eq=False)
class Key:
    """One key of a layer type, under the name of the attribute that holds its value.

    ``home`` is the file that holds it, ``def`` or ``params``. ``each`` keys take one value per input, separated
    by commas; a single value serves all inputs. ``default`` is a value, ``REQUIRED``, or a function of the values
    read so far (for ``each`` keys: of those and the input's index). ``read_by`` lists the generations whose parser reads
    the key, ``demanded_by`` those that refuse a file without it, ``aliases`` earlier spellings. A key of the parameters
    may change while a net trains, unless it is ``fixed``: what was counted or computed before would not fit it.
    """

    kind: Kind[Any]
    help: str
    default: Any
    home: Home
    read_by: tuple[Generation, ...]
    demanded_by: tuple[Generation, ...]
    aliases: tuple[str, ...] = ()
    fixed: bool = False
    each: bool = field(default=False, kw_only=True)
    name: str = field(init=False)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def spellings(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def can_change(self) -> bool:
        """Whether another value can hold from the next batch on, while a net trains."""
        return self.home == "params" and not self.fixed

    def default_for(self, values: dict[str, Any], inputs: int) -> Any:
        """Return the default value, given the values of the keys declared before this one."""
        if callable(self.default):
            return [self.default(values, i) for i in range(inputs)] if self.each else self.default(values)
        return [self.default] * inputs if self.each else self.default


def one(
    kind: Kind[T],
    help: str,
    default: Any = REQUIRED,
    home: Home = "def",
    read_by: tuple[Generation, ...] = GENERATIONS,
    demanded_by: tuple[Generation, ...] = (),
    aliases: tuple[str, ...] = (),
    fixed: bool = False,
) -> T:
    """Declare a key with one value. To a type checker the result is that value, as that of ``dataclasses.field`` is."""
    return cast(T, Key(kind, help, default, home, read_by, demanded_by, aliases, fixed))


def per_input(
    kind: Kind[T],
    help: str,
    default: Any = REQUIRED,
    home: Home = "def",
    read_by: tuple[Generation, ...] = GENERATIONS,
    demanded_by: tuple[Generation, ...] = (),
    fixed: bool = False,
) -> list[T]:
    """Declare a key with a value for every input; see ``one``."""
    return cast(list[T], Key(kind, help, default, home, read_by, demanded_by, fixed=fixed, each=True))


def keys_of(layer_class: type) -> tuple[Key, ...]:
    """Return the keys of a class and its bases in the order in which they are read and stored.

    That is the order of ``key_ranks``, below it that of declaration, bases first. A class drops a key of its base by
    giving the name a plain value.
    """
    ranks: dict[str, int] = {}
    for base in reversed(layer_class.__mro__):
        of_def, of_params = vars(base).get("key_ranks", (0, 0))
        for name, value in vars(base).items():
            if isinstance(value, Key):
                ranks.pop(name, None)  # declared anew: it stands where it is declared last
                ranks[name] = of_def if value.home == "def" else of_params
    declared = (getattr(layer_class, name) for name in sorted(ranks, key=ranks.__getitem__))
    return tuple(key for key in declared if isinstance(key, Key))
