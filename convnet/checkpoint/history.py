"""A history that stays small: of very many batches the oldest stand together, so that every checkpoint takes bounded bytes.

An entry is (sums of costs over cases, cases), as the originals saved of every batch (io 2.6), so that neighbours add up to
an entry of both without losing their mean. When there are more than ``MOST``, the older half is added up pairwise; what was
added up before is so again, and entries stand for the more batches the older they are. The newest are always one by one.
"""

from collections.abc import Sequence
from itertools import groupby

from convnet.net.net import Costs

MOST = 65536  # entries
Output = tuple[Costs, int]
Runs = list[list[int]]  # [entries, batches that each of them stands for], the oldest first; what follows are single batches


def batches_each(entries: int, runs: Sequence[Sequence[int]]) -> list[int]:
    """Return how many batches each of ``entries`` stands for."""
    counts = [int(batches) for count, batches in runs for _ in range(min(int(count), entries))][:entries]
    return counts + [1] * (entries - len(counts))


def middles(entries: int, runs: Sequence[Sequence[int]]) -> list[float]:
    """Return for each entry the number of its batch, from 1, or the middle of the numbers of its batches."""
    found, done = [], 0
    for batches in batches_each(entries, runs):
        found.append(done + (batches + 1) / 2)
        done += batches
    return found


def merge_oldest(outputs: list[Output], runs: Runs, *beside: list[int], most: int = MOST) -> None:
    """Add up the older half of ``outputs`` pairwise if there are more than ``most``; changes its arguments.

    Of lists ``beside`` it, which hold a number for each entry, that of the later entry stays. Entries of other costs are not
    added up.
    """
    if len(outputs) <= most:
        return
    counts = batches_each(len(outputs), runs)
    merged: list[Output] = []
    batches: list[int] = []
    kept: list[int] = []
    at, half = 0, most // 2
    while at < half:
        pair = outputs[at : at + 2]
        width = 2 if len(pair) == 2 and _same_costs(*pair) else 1
        merged.append(_sum(pair) if width == 2 else pair[0])
        batches.append(sum(counts[at : at + width]))
        at += width
        kept.append(at - 1)
    outputs[:at] = merged
    each = [*batches, *counts[at:]]
    while each and each[-1] == 1:
        each.pop()
    runs[:] = [[len(list(group)), count] for count, group in groupby(each)]
    for numbers in beside:
        if len(numbers) == len(counts):
            numbers[:at] = [numbers[i] for i in kept]


def _same_costs(one: Output, other: Output) -> bool:
    sizes = [{name: len(values) for name, values in costs.items()} for costs, _ in (one, other)]
    return sizes[0] == sizes[1]


def _sum(pair: Sequence[Output]) -> Output:
    (costs, cases), (others, other_cases) = pair
    return {name: [a + b for a, b in zip(costs[name], others[name], strict=True)] for name in costs}, cases + other_cases
