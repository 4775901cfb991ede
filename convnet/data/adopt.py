"""Data as a net knows them: minus the mean that it was trained with, and with its numbers of the classes.

What a net knows is a description (``Provider.description``), which its checkpoint holds. Another folder may have another
mean, other classes, or the same in another order; a net that is tested or trained on that as it is gives wrong numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convnet.data.provider import Provider
from convnet.errors import DataError
from convnet.pickles import text_of
from convnet.texts import counted, listed

_NAMED = 5  # classes in a message


def adopt(provider: Provider, known: Mapping[str, Any], with_mean: bool = True) -> list[str]:
    """Let ``provider`` give data as ``known`` describes them; return a line on whatever it has otherwise.

    Raises ``DataError`` for classes that are not known.
    """
    lines = [_adopt_mean(provider, known) if with_mean else ""]
    names = [text_of(name) for name in known.get("label_names") or ()]
    if provider.names_classes and provider.classes and names:
        lines.append(_adopt_classes(provider, names))
    _check_heads(provider, known.get("head_names") or {})
    return [line for line in lines if line]


def _adopt_mean(provider: Provider, known: Mapping[str, Any]) -> str:
    where, cropper, knows = provider.where, provider.cropper, provider.has_mean  # to compute its own may take long
    if cropper:
        mean, size = known.get("mean"), cropper.size
        if mean is None:
            return ""
        if np.ndim(mean) != 3 or len(mean) != cropper.channels or len(mean[0]) < size:
            return f"The mean of the net, {np.shape(mean)}, does not fit {where}: its own is subtracted."
        border = (len(mean[0]) - size) // 2
        inner = slice(border, border + size)
        mean = np.ascontiguousarray(np.asarray(mean, np.float32)[:, inner, inner])
        before, cropper.mean = cropper.mean if knows else mean, mean
    else:
        mean = known.get("value_mean")
        own = provider.value_mean if knows else mean
        if own is None or mean is None or np.shape(mean) != (provider.dims[0],):
            return ""
        before, provider.value_mean = own, np.asarray(mean, np.float32)
    if np.array_equal(before, mean):
        return ""
    return f"The mean of {where} is not the one that the net was trained with, which is subtracted."


def _check_heads(provider: Provider, known: Mapping[str, Sequence[str]]) -> None:
    """Raise ``DataError`` for labels in other matrices than the first that are of other classes, or in another order."""
    for index, names in known.items():
        own, names = provider.head_names.get(int(index), []), [text_of(name) for name in names]
        if own and own != names:
            trained = f"the net was trained on {listed(names, _NAMED)}"
            raise DataError(f"{provider.where}: label_names{index} are {listed(own, _NAMED)}; {trained}")


def _adopt_classes(provider: Provider, names: list[str]) -> str:
    where, own = provider.where, list(provider.label_names)
    if own == names:
        return ""
    if not own or _are_numbers(own) or _are_numbers(names):
        # Without names on both sides labels are taken by their numbers, of which there have to be as many.
        if len(own or names) != len(names) or (not own and provider.classes > len(names)):
            raise DataError(
                f"{where} has {counted(len(own) or provider.classes, 'class')}, the net was trained on {len(names)}"
            )
        if own:
            return ""
        provider.label_names = names
        _count_classes(provider, len(names))
        return ""
    number_of = {name: number for number, name in enumerate(names)}
    if unknown := [name for name in own if name not in number_of]:
        raise DataError(
            f"{where} has classes that the net was not trained on: {listed(unknown, _NAMED)}; "
            f"it knows {listed(names, _NAMED)}; where only the names differ, change them in its batches.meta"
        )
    if len(number_of) < len(names) or len(set(own)) < len(own):
        raise DataError(f"{where} has other classes than the net, or another order, and names that are not unique")
    provider.label_map = np.array([number_of[name] for name in own])
    provider.label_names, provider.tree = names, None
    _count_classes(provider, len(names))
    which = "all classes of the net in another order" if len(own) == len(names) else f"{len(own)} of {len(names)} classes"
    return f"{where} has {which}: labels are taken by their names."


def _count_classes(provider: Provider, count: int) -> None:
    provider.classes = count
    provider.dims |= provider.label_dims


def _are_numbers(names: Sequence[str]) -> bool:
    return list(names) == [str(number) for number in range(len(names))]
