"""What a run shows on a terminal, looked at row by row as a person sees it."""

import io
import itertools
import re
from pathlib import Path

import pytest
import terminal
from support import SMALL_NET, SMALL_PARAMS, write_cifar, write_net

from convnet.checkpoint import Position
from convnet.training import events
from convnet.training.costs import Outputs
from convnet.training.plan import Plan
from convnet.training.screen import Screen

STATUS = re.compile(r"\r([^\r\n\x1b]+)\x1b\[K")  # each renewal of the line


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small net that says how long it runs, and 6 batches of 60 cases."""
    folder = tmp_path_factory.mktemp("screen")
    write_net(folder, params=f"[run]\nepochs=2\nmini=16\ntest-freq=4\n{SMALL_PARAMS}")
    write_cifar(folder / "data", batches=6)
    return folder


def words(*more):
    return ["run", "--layer-def", "layers-small.cfg", "--data-path", "data", "--threads", "1", *more]


@pytest.fixture(scope="module")
def whole(place):
    status, text = terminal.run(words("--save-path", "whole", "--live"), place)
    assert status == 0
    return text, terminal.rows(text, 80)


def test_it_opens_in_ten_rows_and_says_what_the_numbers_are(whole):
    _, rows = whole
    opening = rows[: rows.index("")]
    assert [row.split()[0] for row in opening] == ["Net", "Data", "Device", "Options", "Length", "Saves", "Numbers"]
    assert opening[0] == "Net       layers-small.cfg: 9 layers, 5,738 parameters"
    assert opening[1] == "Data      train on 1-5, test on 6, 10 classes: data"
    assert opening[3:5] == ["Options   --threads 1", "Length    2 epochs of 5 batches, minibatches of 16"]
    assert re.fullmatch(r"Saves     whole/ConvNet__[-\d_.]+ \(every 4 batches, 58.2 kB\)", opening[5])
    assert opening[6] == "Numbers   logprob: cost, error, top-2 error"
    assert "GPU" not in "".join(rows) and "Initialized" not in "".join(rows)


def test_one_line_is_renewed_and_gone_in_the_end(whole):
    text, rows = whole
    shown = STATUS.findall(text)
    assert len(shown) > 10 and all(len(line) <= 75 for line in shown)
    finished = [line for line in shown if re.match(r"batch \d\.\d, \d+ of 10  [\d.]+, [\d.]+ %, [\d.]+ %", line)]
    assert {line.split(",")[0] for line in finished} == {f"batch {e}.{b}" for e in (1, 2) for b in range(1, 6)}
    assert any(line.endswith("images/s") and " left  " in line for line in finished) and "testing on 6" in shown
    assert not any("images/s" in row or "testing" in row for row in rows)


def test_it_tells_of_tests_of_the_time_and_of_the_end(whole):
    _, rows = whole
    below = rows[rows.index("") + 1 :]
    numbers = r"cost [\d.]+, error [\d.]+ %, top-2 error [\d.]+ %"
    wanted = [
        r"This will take about .+ on this machine\.",
        rf"Test after batch 1\.4, 4 of 10: {numbers}",
        rf"Test after batch 2\.3, 8 of 10: {numbers}",
        r"Saved checkpoint to whole/ConvNet__.*",
        r"Done: 2 epochs, 10 batches, in .*\.",
        rf"Final test of 60 cases: {numbers}",
        r"See what it says: convnet shownet --load-file whole/ConvNet__",
    ]
    text = "\n".join(below)
    at = [re.search(rf"(?m)^{line}", text) for line in wanted]
    assert all(at), text
    starts = [match.start() for match in at]
    assert starts == sorted(starts) and text.count("This will take") == 1


def test_time_left_and_speed_have_room_in_80_columns(monkeypatch):
    """Of a long run of the network of 2012, with three numbers."""
    monkeypatch.setenv("TERM", "xterm")
    ticks, out = itertools.count(), io.StringIO()
    screen = Screen(out, clock=lambda: 15.2 * next(ticks))
    screen.outputs = Outputs(names={"logprob": ["cost", "error", "top-5 error"]})
    screen.progress.begin(Plan(list(range(1, 13)), [13], 90, 12), Position(90, 11, batches_done=1078))
    screen(events.BatchBegin(90, 12, 0.99))
    for done in range(1, 4):
        screen(events.MinibatchEnd(done, 400, {"logprob": [12.345678 * 128, 127, 126]}, 128))
    shown = STATUS.findall(out.getvalue())[-1]
    assert re.search(r"^batch 90\.12, 1,079 of 1,079  12\.3, 99\.2 %, 98\.4 %  [\d.]+ h left  [\d.]+ images/s$", shown), (
        shown
    )


@pytest.mark.slow
@pytest.mark.parametrize("columns", [20, 40])
def test_narrow_terminals(place, columns):
    status, text = terminal.run(words("--save-path", "narrow"), place, columns)
    rows = terminal.rows(text, columns)
    assert status == 0 and all(len(line) < columns - 4 for line in STATUS.findall(text))
    assert rows.index("") <= 10 and not any("images/s" in row for row in rows)
    assert any(row.startswith("Test after") for row in rows)


def test_ctrl_c_and_another_width_inside_the_line(place):
    """The program stops after the minibatch; neither the line nor the ^C that the terminal shows is left."""
    done = []

    def watch(text, on):
        if not done and len(STATUS.findall(text)) > 3:
            done.append(text)
            on.resize(40)
            on.interrupt()

    status, text = terminal.run(words("--epochs", "40000", "--save-path", "stopped"), place, watch=watch)
    rows = terminal.rows(text, 80)
    assert status == 0 and done
    (stopped,) = [i for i, row in enumerate(rows) if row.startswith("Stopped by SIGINT after batch")]
    # In the new width; in one row where no minibatch of the next batch was done.
    assert len(rows[stopped]) < 40 and (rows[stopped].endswith(".") or rows[stopped + 1].endswith("."))
    assert not any("^C" in row or "images/s" in row for row in rows)
    assert any(row.startswith("Go on with:       convnet run --load-file stopped/ConvNet__") for row in rows)


def test_a_run_that_is_stopped_inside_a_batch_says_where_it_is_saved(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    screen, saved = Screen(out), events.Saved(Path("/runs/a/1.3"))
    for event in (events.BatchBegin(1, 4, 0.1), saved):  # after a test the opening has said where
        screen(event)
    assert out.getvalue() == ""
    screen(events.RunStopped("SIGINT", 1, 3, 1))
    screen(saved)
    assert out.getvalue() == "Stopped by SIGINT after batch 1.3 and 1 minibatch.\nSaved checkpoint to /runs/a\n"


def test_warnings_and_remarks_come_last(place):
    (place / "layers-odd.cfg").write_text(SMALL_NET.replace("filters=8", "filters=8\nneurone=9"))
    (place / "layer-params-odd.cfg").write_text(SMALL_PARAMS)
    arguments = words("--save-path", "odd", "--max-batches", "1", "--train-range", "1-5", "--test-range", "5-6")
    status, text = terminal.run([word.replace("-small", "-odd") for word in arguments], place)
    rows = terminal.rows(text, 80)
    assert status == 0
    (numbers,) = [i for i, row in enumerate(rows) if row.startswith("Numbers")]
    (remark,) = [i for i, row in enumerate(rows) if row.startswith("Tests on 5 say nothing of new cases")]
    (warning,) = [i for i, row in enumerate(rows) if "no key 'neurone' in this layer type" in row]
    (done,) = [i for i, row in enumerate(rows) if row.startswith("Done: ")]
    assert numbers < remark < warning < done


@pytest.mark.slow
def test_dumb_terminals_get_lines_without_codes(place):
    status, text = terminal.run(words("--save-path", "dumb"), place, TERM="dumb")
    assert status == 0 and "\x1b" not in text and "\b" not in text and not re.search(r"\r(?!\n)", text)
    assert re.search(r"\nbatch 2\.5, 10 of 10: cost [\d.]+, error [\d.]+ %, top-2 error [\d.]+ %\r\n", text)


@pytest.mark.slow
def test_no_colours(place):
    _, text = terminal.run(words("--save-path", "plain"), place, NO_COLOR="1")
    assert set(re.findall(r"\x1b\[.*?[A-Za-z]", text)) == {"\x1b[K"}


@pytest.mark.slow
def test_verbose_brings_the_lines_of_2014(place):
    status, text = terminal.run(words("--save-path", "verbose", "--verbose"), place)
    rows = terminal.rows(text, 80)
    assert "Numbers of logprob: cost, error, top-2 error" in rows
    assert "Numbers of weights and biases: mean size [mean change] [change / size]" in rows
    assert status == 0 and "Initialized data layer 'labels', producing 1 outputs" in rows
    assert any(re.fullmatch(r"2\.5 \(90\.00%\)\.\.\. logprob:  [\d.]+, [\d.]+, [\d.]+ \([\d.]+ sec\)", row) for row in rows)


def test_testing_prints_a_table(place, whole):
    arguments = ["run", "--load-file", "whole", "--test-only", "--test-range", "5-6", "--test-out", "predictions"]
    status, text = terminal.run(arguments, place)
    rows = terminal.rows(text, 80)
    head = rows.index("batch      cases      cost     error  top-2 error")
    assert status == 0 and "Numbers" not in rows
    table = [row.split() for row in rows[head + 1 : head + 4]]
    assert [(row[0], row[1]) for row in table] == [("5", "60"), ("6", "60"), ("all", "120")]
    numbers = [[float(row[i]) for i in (2, 3, 5)] for row in table]
    assert [sum(pair) / 2 for pair in zip(*numbers[:2], strict=True)] == pytest.approx(numbers[2], abs=0.01)
    assert rows[head + 4] == "Wrote test_preds_5, test_preds_6 to predictions"
    final = re.search(r"Final test of 60 cases: cost ([\d.]+), error ([\d.]+) %", "\n".join(whole[1]))
    assert [float(text) for text in final.groups()] == numbers[1][:2]  # the same net on the same batch


def test_changes_mistakes_and_what_was_asked_for_stay_on_the_screen(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    screen = Screen(out)
    screen.status.show(["batch 3.2"])
    screen(events.Changed(3, 2, 0, ["conv1 epsW[0]: 0.001 -> 0.0005", *(f"fc{i} wc[0]: 0 -> {i}" for i in range(9))]))
    screen(events.Mistakes("all", ["net.cfg has changed:", "net.cfg:1:2: error: bad\n    epsW=x\n     ^"]))
    screen(events.Saved(Path("/runs/a/3.2"), asked=True))
    rows = terminal.rows(out.getvalue().replace("\n", "\r\n"), 80)
    assert " ".join(rows[:4]).startswith(
        "Parameters changed after batch 3.2: conv1 epsW[0]: 0.001 -> 0.0005, fc0 wc[0]: 0 -> 0, fc1"
    )
    assert "and 2 more" in " ".join(rows)
    at = rows.index("net.cfg has changed:")
    assert rows[at + 1 : at + 5] == [
        "net.cfg:1:2: error: bad",
        "    epsW=x",
        "     ^",
        "Saved checkpoint to /runs/a/3.2, as asked.",
    ]


def test_what_stands_out_is_the_last_line(place):
    (place / "layers-stuck.cfg").write_text(SMALL_NET.replace("initW=0.01", "initW=0"))
    (place / "layer-params-stuck.cfg").write_text(SMALL_PARAMS.replace("epsB=0.002", "epsB=0.00001"))
    more = ("--layer-def", "layers-stuck.cfg", "--epochs", 4, "--mini", 60, "--save-file", "stuck")
    status, text = terminal.run(words(*more), place, columns=300)
    *_, last = filter(None, terminal.rows(text, 300))
    assert status == 0 and last.startswith("What stands out:  logprob: the cost stays at 2.303")
    assert last.endswith("What to do: convnet log stuck")
