"""Schedules of rates that are written and not used are said, in every spelling."""

import pytest
from support import default_params, make_graph

TEXT = "[data]\ntype=data\ndataIdx=0\n[fc]\ntype=fc\ninputs=data\noutputs=2\n[cost]\ntype=cost.sum2\ninputs=fc\n"
DEXP = "dexp[base=0.01;tgtFactor=10;numSteps=2]"
APART = "dexp[tgtFactor=10,noiseStdev=0,numSteps=2]"


@pytest.mark.parametrize(
    "lines, idle",
    [
        ([], []),
        ([f"epsW={DEXP}"], []),
        ([f"schedW={APART}", f"schedB={APART}"], []),
        ([f"sched={APART}"], []),
        ([f"epsW={DEXP}", f"schedW={APART}"], ["schedW"]),
        ([f"epsB={DEXP}", f"schedB={APART}", f"schedW={APART}"], ["schedB"]),
        ([f"sched={APART}", f"schedW={APART}"], []),
        ([f"sched={APART}", f"epsW={DEXP}"], []),
        ([f"sched={APART}", f"epsW={DEXP}", f"schedB={APART}"], ["sched"]),
        (["superMom=0.9"], ["superMom"]),
    ],
)
def test_schedules_that_are_not_used(lines, idle):
    params = default_params(TEXT).replace("[fc]\n", "[fc]\n" + "".join(f"{line}\n" for line in lines))
    graph = make_graph(TEXT, {0: 4}, params=params)
    assert [problem.message.split("'")[3] for problem in graph.warnings] == idle
    assert all("has no effect" in problem.message and problem.place.file == "params.cfg" for problem in graph.warnings)
