"""Runs on several ranks, as threads of one process: rank 0 prints and writes what a run of one rank does."""

import numpy as np
import pytest
from ranks.threads import on_ranks
from support import SMALL_NET, SMALL_PARAMS, write_cifar, write_net

from convnet import checkpoint, pickles
from convnet.cli.run import given_options, parser, run_on
from convnet.data.matrices import Matrices
from convnet.errors import BackendError, ConvnetError, DataError, OptionError
from convnet.language import watched
from convnet.net.parallel import ParallelNet
from convnet.ranks.agreement import fail
from convnet.ranks.communicator import Solo
from convnet.training.records import read_log
from convnet.training.run import Run

TRAIN = "--layer-def layers-small.cfg --mini 16 --epochs 2 --test-freq 2 --backend cpu --threads 1 --shards 4"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small net, three batches of 60 cases, and what one rank makes of it."""
    folder = tmp_path_factory.mktemp("ranks")
    write_cifar(folder / "data")
    write_net(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(1, f"{TRAIN} --data-path data --save-file one --keep-best logprob")
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)


def run(size, line):
    given = given_options(parser("convnet run").read(line.split()))
    return run_on(Solo(), dict(given)) if size == 1 else on_ranks(size, lambda ranks: run_on(ranks, dict(given)))


def state_of(folder):
    """All that training changes, and what was counted, of the newest checkpoint."""
    _, loaded, _ = checkpoint.find_latest(folder, checkpoint.load)
    keys = ("weights", "weightsInc", "biases", "biasesInc")
    arrays = [np.asarray(value) for layer in loaded.layers.values() for key in keys for value in each(layer.get(key, []))]
    return arrays, loaded["model_state"]["train_outputs"], loaded["model_state"]["test_outputs"], vars(loaded.position())


def each(value):
    return value if isinstance(value, list) else [value]


def assert_same(one, other):
    (arrays, *counts), (others, *other_counts) = state_of(one), state_of(other)
    assert all(map(np.array_equal, arrays, others)) and len(arrays) == len(others)
    assert counts == other_counts


def lines_of(folder, *keys):
    """What a log says, without times."""
    kinds = ("batch", "test", "change", "end")
    return [[line.get(key) for key in ("line", *keys)] for line in read_log(folder / "log.jsonl") if line["line"] in kinds]


@pytest.mark.parametrize("size", [2, 4])
def test_any_number_of_ranks_comes_to_the_same_bits(place, size, capsys):
    folder = f"on-{size}"
    run(size, f"{TRAIN} --data-path data --save-file {folder} --keep-best logprob")
    assert_same("one", folder)
    assert sorted(p.name for p in (place / "one").iterdir()) == sorted(p.name for p in (place / folder).iterdir())
    keys = "logprob.cost", "logprob.error", "weights", "dead", "rates"
    assert lines_of(place / "one", *keys) == lines_of(place / folder, *keys)
    said = capsys.readouterr().out
    assert said.count("Saved checkpoint to") == 3 and f"Running on {size} ranks on " in said


def test_without_shards_it_is_as_close_as_sums_are(place):
    write_net(
        place / "plain", SMALL_NET.replace("[drop]\ntype=dropout\ninputs=pool1\n", "").replace("inputs=drop", "inputs=pool1")
    )
    plain = TRAIN.replace(" --shards 4", "").replace("layers-small", "plain/layers-small")
    for size in (1, 3):
        run(size, f"{plain} --data-path data --save-file plain-{size}")
    for one, other in zip(state_of("plain-1")[0], state_of("plain-3")[0], strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("first", "then"), [(4, 1), (1, 4), (2, 4)])
def test_a_run_goes_on_on_other_ranks(first, then):
    folder = f"from-{first}-to-{then}"
    run(first, f"{TRAIN} --data-path data --save-file {folder} --keep-best logprob --max-batches 1")
    run(then, f"--save-file {folder}")
    assert_same("one", folder)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_on_any_rank_stops_all_and_is_gone_on_from(rank, monkeypatch, capsys):
    polled = Run.poll

    def asked(work):
        if work.net.communicator.rank == rank and work.position.minibatches == 2:
            work.asked_to_stop.ask("SIGTERM")
        return polled(work)

    folder = f"stopped-{rank}"
    with monkeypatch.context() as patch:
        patch.setattr(Run, "poll", asked)
        run(2, f"{TRAIN} --data-path data --save-file {folder} --keep-best logprob")
    assert checkpoint.find_latest(folder, checkpoint.load)[1].position().minibatches == 2
    assert "SIGTERM" in capsys.readouterr().out
    run(1, f"--save-file {folder}")
    assert_same("one", folder)


def test_one_asks_and_all_save(monkeypatch, capsys):
    polled, asked = Run.poll, []

    def ask(work):
        if work.net.communicator.rank == 1 and not asked:
            asked.append(work.asked_to_save.ask())
        return polled(work)

    monkeypatch.setattr(Run, "poll", ask)
    run(2, f"{TRAIN} --data-path data --save-file asked --keep-best logprob")
    assert capsys.readouterr().out.count("Saved checkpoint to") == 4
    assert_same("one", "asked")


def test_edits_are_those_that_rank_0_sees(place, monkeypatch):
    monkeypatch.setattr(watched, "REST", 0)
    before, params = Run.before_batch, place / "edited" / "layer-params-small.cfg"
    write_net(place / "edited")

    def edited(work):
        if work.net.communicator.rank == 0 and work.position.batches_done == 1:
            params.write_text(SMALL_PARAMS.replace("momW=0.9", "momW=0.5"))
        return before(work)

    monkeypatch.setattr(Run, "before_batch", edited)
    for size in (1, 2):
        write_net(place / "edited")
        line = TRAIN.replace("layers-small.cfg", "edited/layers-small.cfg")
        run(size, f"{line} --data-path data --save-file edited-{size}")
    assert len(state_of("edited-1")[3]["changes"]) == 1
    assert_same("edited-1", "edited-2")


def test_patience_ends_all(capsys):
    for size in (1, 2):
        run(size, f"{TRAIN} --data-path data --save-file patient-{size} --patience 1 --keep-best logprob --epochs 30")
        assert "--patience 1 ends the run" in capsys.readouterr().out
    assert_same("patient-1", "patient-2")


def files_of(folder):
    return {path.name: pickles.load(path) for path in sorted(folder.iterdir())}


CROPPED = "--data-provider cifar-cropped --crop-border 2"


@pytest.mark.parametrize(
    ("more", "line"),
    [("", "--test-out {}"), (CROPPED, "--multiview-test 1 --test-out {}"), ("", "--write-features fc --feature-path {}")],
    ids=["predictions", "views", "features"],
)
def test_rank_0_writes_what_one_rank_does(place, more, line):
    trained, outputs = "one", []
    if more:
        trained = "cropped"
        run(1, f"{TRAIN} {more} --data-path data --save-file {trained} --max-batches 1")
    for size in (1, 3):
        folder = place / f"{trained}-{line.split()[0][2:]}-{size}"
        run(size, f"--load-file {trained} --test-only 1 --shards 0 {line.format(folder)}")
        outputs.append(files_of(folder))
    one, three = outputs
    assert one.keys() == three.keys()
    for name, held in one.items():
        if "data" in held:
            np.testing.assert_allclose(three[name]["data"], held["data"], atol=1e-5)
        assert held.keys() == three[name].keys()
        assert np.array_equal(held.get("labels", 0), three[name].get("labels", 0))


def test_a_report_is_that_of_one_rank(place, capsys):
    said = []
    for size in (1, 3):
        run(size, f"--load-file one --test-only 1 --shards 0 --report errors-{size}.csv")
        said.append(capsys.readouterr().out.replace(f"errors-{size}", "errors"))
    assert (place / "errors-1.csv").read_text() == (place / "errors-3.csv").read_text()
    assert said[0].partition("\n\n")[2] == said[1].partition("\n\n")[2] != ""


def test_an_average_is_that_of_one_rank(capsys):
    costs = []
    for size in (1, 2):
        run(size, "--load-file one --test-only 1 --shards 0 --average one/best")
        costs.append(capsys.readouterr().out.partition("the mean of all")[2])
    assert costs[0] == costs[1] != ""


def test_a_mistake_is_that_of_all():
    with pytest.raises(OptionError, match="--shards 4 does not fit 3 ranks"):
        run(3, f"{TRAIN} --data-path data --save-file none")
    with pytest.raises(ConvnetError, match="nowhere") as caught:
        run(2, f"{TRAIN} --data-path nowhere --save-file none")
    assert "rank" not in str(caught.value)


def test_data_that_one_rank_lacks_end_all_after_saving(place, monkeypatch):
    """A batch that is damaged on one machine."""
    batch = Matrices.batch

    def missing(data, epoch, number):
        if data.request.ranks and data.request.ranks.rank == 1 and number == 2 and data.request.training:
            raise DataError("data_batch_2 is damaged")
        return batch(data, epoch, number)

    monkeypatch.setattr(Matrices, "batch", missing)
    with pytest.raises(DataError, match=r"^rank 1 on .*: data_batch_2 is damaged"):
        run(2, f"{TRAIN} --data-path data --save-file damaged --keep-best logprob")
    monkeypatch.undo()
    monkeypatch.chdir(place)
    run(2, "--save-file damaged")
    assert_same("one", "damaged")


@pytest.mark.parametrize("error", [BackendError("the card has no memory left"), MemoryError()])
def test_what_one_rank_meets_in_a_step_ends_all_and_saves_nothing(monkeypatch, error):
    """The others are at other places, and have sent what the rank will not take."""
    forward = ParallelNet._forward_narrow

    def failing(net, *arguments):
        if net.communicator.rank == 1 and net.step == 5:
            raise error
        return forward(net, *arguments)

    monkeypatch.setattr(ParallelNet, "_forward_narrow", failing)
    given = given_options(parser("convnet run").read(f"{TRAIN} --data-path data --save-file failed".split()))

    def work(communicator):
        with pytest.raises((ConvnetError, MemoryError)) as caught:
            try:
                run_on(communicator, dict(given))
            except (ConvnetError, MemoryError) as error:
                fail(communicator, error, 5.0)  # as ``world`` does
        return str(caught.value)

    said = on_ranks(2, work)
    assert said[0] == said[1] and said[0].startswith("rank 1 on ") and "memory" in said[0]
    with pytest.raises(ConvnetError):
        checkpoint.find_latest("failed", checkpoint.load)


def test_ranks_that_differ_say_so(place):
    other = place / "other"
    write_net(other, params=SMALL_PARAMS.replace("keep=0.8", "keep=0.7"))
    given = given_options(parser("convnet run").read(f"{TRAIN} --data-path data --save-file differ".split()))

    def work(ranks):
        more = {"layer_path": str(other), "seed": 3} if ranks.rank else {}
        return run_on(ranks, given | more)

    with pytest.raises(OptionError) as caught:
        on_ranks(2, work)
    assert "\n    layer files: " in str(caught.value) and "\n    --seed: 0 on rank 0 (" in str(caught.value)
    assert not (place / "differ").exists()


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"data_path": "less"}, "\n    training data: 1-3 of cifar on rank 0 ("),
        ({"data_path": "less", "data_provider": "cifar-cropped"}, "\n    --data-provider: "),
        ({"test_out": "written"}, "\n    --test-out: nothing on rank 0 ("),
        ({"data_path": "nowhere"}, "nowhere"),
    ],
)
def test_what_ranks_do_together_is_compared_first(place, more, text):
    (place / "less").mkdir(exist_ok=True)
    for name in ("data_batch_1", "data_batch_3", "batches.meta"):
        (place / "less" / name).write_bytes((place / "data" / name).read_bytes())
    given = given_options(parser("convnet run").read(f"{TRAIN} --data-path data --save-file differ".split()))
    with pytest.raises(ConvnetError) as caught:
        on_ranks(2, lambda ranks: run_on(ranks, given | (more if ranks.rank else {})))
    assert text in str(caught.value) and not (place / "differ").exists()


def test_threads_may_differ():
    line = f"{TRAIN} --data-path data --save-file threads --keep-best logprob"
    given = given_options(parser("convnet run").read(line.split()))
    on_ranks(2, lambda ranks: run_on(ranks, given | {"threads": ranks.rank}))
    assert_same("one", "threads")


def test_a_full_disk_is_told_by_rank_0_to_all(place, monkeypatch):
    """What cannot be printed ends all ranks, and the run is saved."""
    from convnet.training.lines import Lines

    heard, call = [], Lines.__call__

    def gone(lines, event):
        heard.append(event)
        if len(heard) == 6:
            raise OSError(28, "No space left on device", "log")
        return call(lines, event)

    monkeypatch.setattr(Lines, "__call__", gone)
    with pytest.raises(ConvnetError, match=r"^rank 0 on .*: log: No space left"):
        run(2, f"{TRAIN} --data-path data --save-file full --keep-best logprob")
    monkeypatch.undo()
    monkeypatch.chdir(place)
    run(1, "--save-file full")
    assert_same("one", "full")


TOWERS = SMALL_NET.replace(
    "[pool1]",
    """[conv1b]
type=conv
inputs=data
channels=3
filters=8
filterSize=5
padding=2
stride=2
initW=0.01
neuron=relu
gpu=1
[pool1b]
type=pool
pool=max
inputs=conv1b
channels=8
sizeX=3
stride=2
gpu=1
[pool1]""",
).replace("inputs=drop\noutputs=10\ninitW=0.01", "inputs=drop,pool1b\noutputs=10\ninitW=0.01,0.01")
TWICE = (
    "epsW=dexp[base=0.0004;tgtFactor=10;numSteps=3],dexp[base=0.0004;tgtFactor=10;numSteps=3]\nmomW=0.9,0.9\nwc=0.01,0.01\n"
)
TOWER_PARAMS = f"{SMALL_PARAMS}[fc]\n{TWICE}"
HYBRID = "--layer-def layers-cifar10-2gpu-data-model.cfg --mini 16 --epochs 1 --test-freq 2 --backend cpu --threads 1"


def close(one, other, atol):
    for mine, theirs in zip(state_of(one)[0], state_of(other)[0], strict=True):
        np.testing.assert_allclose(theirs, mine, atol=atol)


@pytest.mark.parametrize(("first", "then"), [(2, 2), (2, 1), (1, 4)])
def test_towers_lie_on_ranks(place, first, then, capsys):
    """Half a run on so many ranks, and the rest on others: weights, tests, predictions and dead units are those of one."""
    write_net(place / "towers", TOWERS, TOWER_PARAMS)
    line = TRAIN.replace(" --shards 4", "").replace("layers-small", "towers/layers-small")
    for size, folder, rest in ((1, "towers-1", 1), (first, f"towers-{first}-{then}", then)):
        run(size, f"{line} --data-path data --save-file {folder} --max-batches 2")
        run(rest, f"--save-file {folder} --test-out predicted-{folder}")
    close("towers-1", f"towers-{first}-{then}", 1e-5)
    one, other = (files_of(place / f"predicted-towers-{name}") for name in ("1", f"{first}-{then}"))
    for name, held in one.items():
        np.testing.assert_allclose(other[name]["data"], held["data"], atol=1e-5)
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_replicas_lie_on_ranks(size):
    for ranks in (1, size):
        run(ranks, f"{HYBRID} --data-path data --save-file hybrid-{size}-{ranks} --max-batches 1")
        run(ranks, f"--save-file hybrid-{size}-{ranks} --epochs 1")
    close(f"hybrid-{size}-1", f"hybrid-{size}-{size}", 1e-5)
    run(1, f"--save-file hybrid-{size}-{size} --epochs 2 --max-batches 1")


def test_other_processors_are_told_and_other_backends_refused(monkeypatch, capsys):
    from convnet.training import alike

    with monkeypatch.context() as patch:
        patch.setattr(alike, "arithmetic_of", lambda net: f"kernels {net.communicator.rank}")
        run(2, f"{TRAIN} --data-path data --save-file mixed --max-batches 1")
        text = "Other numbers of ranks come to other last bits: these differ in arithmetic: kernels 0 on rank 0 ("
        assert text in capsys.readouterr().out
    given = given_options(parser("convnet run").read(f"{TRAIN} --data-path data --save-file none".split()))
    with pytest.raises(OptionError, match=r"--backend: cpu on rank 0 .*, reference on rank 1"):
        on_ranks(2, lambda ranks: run_on(ranks, given | {"backend": "cpu" if ranks.rank == 0 else "reference"}))
