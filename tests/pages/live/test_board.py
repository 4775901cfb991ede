"""What the page is given: what stands in its parts, when they are drawn again, and how the run is said to have ended."""

import json
import re
from types import SimpleNamespace

import pytest

from convnet.pages.live import board as boards
from convnet.pages.live import follow, sources, view
from convnet.pages.live.board import Board
from convnet.pages.live.follow import Followed
from convnet.pages.live.sources import Moment
from convnet.training.log import NAME


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Run:
    """A log that grows by lines, and a page of it."""

    def __init__(self, folder, **source):
        folder.mkdir(exist_ok=True)
        self.path, self.clock, self.pressed = folder / NAME, Clock(), []
        fields = {"moment": Moment(), "filters": [], "when": "", "said": "", "is_own": True, "is_over": False, "fault": ""}
        acts = {name: lambda name=name: self.pressed.append(name) for name in ("save", "stop")}
        self.source = SimpleNamespace(**fields | {"acts": acts, "asked": lambda: None} | source)
        self.board = Board(Followed(self.path), self.source, self.clock, now=self.clock)
        self.write("begin", 0, device="CPU (2 threads)", net="nets/layers-mine.cfg", options={"train_range": [1, 2, 3]})

    def write(self, kind, batches, **values):
        with self.path.open("a") as file:
            file.write(json.dumps({"line": kind, "batches": batches, "time": self.clock.now, **values}) + "\n")

    def batch(self, number, cost):
        values = {"logprob.cost": cost, "logprob.error": cost / 10, "images_per_second": 100.0 * number}
        self.write("batch", number, epoch=1, batch=number, seconds=1.0, progress=number / 100, **values)

    def state(self, known="", width="800"):
        return json.loads(self.board.gets["state"]({"width": width, "known": known}).body)

    def text(self, part, **query):
        return re.sub(r"<[^>]*>", " ", self.state(**query)["parts"][part][1])


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_before_the_first_batch(run):
    state = run.state()
    assert state["news"] == "The run has begun" and state["acts"] == ["save", "stop"] and not state["over"]
    assert "The first batch is not done yet." in run.text("curves") and "there was none yet" in run.text("layers")
    assert "CPU (2 threads)" in run.text("status") and "layers-mine.cfg" in run.text("status")


def test_the_curve_grows(run):
    """Each batch is a point of the drawing, once it is due."""
    lengths = []
    for number in range(1, 40):
        run.batch(number, 3.0 - number / 20)
        run.clock.now += 10
        lengths.append(len(run.state()["parts"]["curves"][1]))
    assert lengths[-1] > lengths[1] and "logprob" in run.text("curves")
    assert "cost 1.05" in run.text("status") and "3,900 images/s" in run.text("status")


def test_a_change_is_marked(run):
    run.batch(1, 3.0)
    run.write("change", 1, text=["conv1 epsW[0]: 0.001 -> 0.0005"])
    run.batch(2, 2.0)
    assert "conv1 epsW[0]: 0.001 -&gt; 0.0005" in run.state()["parts"]["curves"][1]
    assert run.state()["news"] == "Change after 1 batches: conv1 epsW[0]: 0.001 -> 0.0005"


def test_a_mistake_in_an_edited_file_is_news(run):
    run.batch(1, 3.0)
    run.write("message", 1, text="params.cfg, line 3: epsW=x\n    epsW=x\n         ^")
    assert run.state()["news"] == "params.cfg, line 3: epsW=x"


def test_only_what_has_changed_is_sent(run):
    run.batch(1, 3.0)
    first = run.state()["parts"]
    assert set(first) == {"status", *boards._PARTS}
    marks = [mark for mark, _ in first.values()]
    assert run.state(known="-".join(marks))["parts"] == {}
    run.batch(2, 2.0)
    run.clock.now += 100
    assert set(run.state(known="-".join(marks))["parts"]) == {"status", "curves"}


def test_parts_are_drawn_seldom_and_once_for_all_pages(run, monkeypatch):
    """A curve that takes a second of the processor is drawn again after minutes; at the end, at once."""
    drawn, seconds = [], [0.0]
    monkeypatch.setattr(boards.time, "thread_time", lambda: seconds[0])

    def draw(history, width):
        drawn.append((history.done, width))
        seconds[0] += 1.0
        return boards.Html(f"<p>{history.done}</p>")

    monkeypatch.setattr(boards, "curves_part", draw)
    for number in range(1, 200):
        run.batch(number, 1.0)
        run.clock.now += 1
        for width in ("1600", "1600", "400", "no", "9" * 50):
            run.state(width=width)
    share = len(drawn) * 1.0 / 199
    assert share < 3 * boards._SHARE * 2 and {width for _, width in drawn} == {360, 720, 1160}
    run.source.is_over = True
    assert run.state()["parts"]["curves"][1] == "<p>199.0</p>"


def test_all_shares_together_are_at_most_two_in_a_hundred():
    """Those of all parts of a page, and of what the thread that trains copies for it."""
    parts = ["status", *boards._PARTS]
    assert len(parts) * boards._SHARE + sources._SHARE <= 0.02 + 1e-9


def test_what_cannot_be_drawn_is_said(run, monkeypatch):
    def broken(history):
        raise ValueError("no such <thing>\nat all")

    monkeypatch.setattr(boards, "layers_part", broken)
    assert run.state()["parts"]["layers"][1] == '<p class="warn">This cannot be shown: no such &lt;thing&gt;</p>'
    assert run.state()["parts"]["status"]


def test_the_sizes_of_weights(run):
    run.write("batch", 3, **{"a.cost": 1.0}, rates={"conv1": {"weights[0]": 0.001, "biases": 0.002}})
    run.write(
        "weights",
        3,
        weights={"conv1": {"weights[0]": [0.05, 5e-5], "biases": [0.1, 0.05]}, "fc": {"weights[0]": [0.1, 0.05]}},
    )
    rows = re.findall(r"<tr>(.*?)</tr>", run.state()["parts"]["layers"][1], re.DOTALL)[1:]
    cells = [[re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", row, re.DOTALL)] for row in rows]
    assert cells[0] == ["conv1", "weights[0]", "usual", "0.05", "5e-05", "0.001", "0.001"]
    assert cells[1] == ["conv1", "biases", "", "0.1", "0.05", "0.5", "0.002"]
    assert cells[2][:2] == ["fc", "weights[0]"] and "lower epsW" in cells[2][2] and cells[2][-1] == ""
    assert "after 3 batches" in run.text("layers")


def test_buttons(run):
    assert json.loads(run.board.posts["save"]({}).body) == {"done": True} and run.pressed == ["save"]
    assert run.state()["news"].startswith("Asked to save")
    run.board.posts["stop"]({})
    assert run.pressed == ["save", "stop"] and run.state()["news"].startswith("Asked to stop")


def test_no_buttons_for_the_run_of_another_process(tmp_path):
    run = Run(tmp_path, acts={}, is_own=False)
    page = run.board.gets[""]({}).body.decode()
    assert "kill -USR1 PID" in page and run.state()["acts"] == []
    assert json.loads(run.board.posts["stop"]({}).body) == {"done": False}


@pytest.mark.parametrize(
    "lines, text",
    [
        ([("end", {"checkpoint": "1.3"})], "The run has ended"),
        ([("final", {"logprob.error": 0.25}), ("end", {})], "The run has ended; all test batches: error 25.00"),
        ([("stopped", {"by": "the page"}), ("saved", {}), ("end", {})], "The run was stopped by the page, and is saved"),
        ([("error", {"text": "no space"})], "The run has ended with an error: no space"),
        ([("error", {"text": "x"}), ("resume", {})], ""),
        ([("end", {}), ("resume", {})], ""),
        ([("end", {}), ("batch", {"logprob.error": 0.1, "time": 2000})], ""),
        ([("saved", {"checkpoint": "1.3"})], ""),
    ],
)  # fmt: skip
def test_how_it_ended(run, lines, text):
    run.source.is_own = False
    run.batch(1, 1.0)
    for kind, values in lines:
        run.write(kind, 1, **values)
    state = run.state()
    found = view.ending_of(run.board.log.history, str(run.path.parent))
    assert found.startswith(text) and bool(found) == bool(text)
    assert state["acts"] == ([] if text else ["save", "stop"]) and (not text or state["news"] == found)
    assert "error 25.00" in found or "%" not in found


def test_a_run_that_went_on_is_not_over(run):
    """Its log ends with the run before until its own first batch is done; how it ends itself is known at once."""
    run.batch(1, 1.0)
    run.write("end", 1)
    state = run.state()
    assert state["acts"] == ["save", "stop"] and "ended" not in state["title"] + state["news"]
    run.source.is_over = True
    assert run.state()["news"] == "The run has ended"
    run.source.fault = "no space"
    assert run.state()["news"] == "The run has ended with an error: no space"


def test_whoever_hears_that_it_is_over_hears_how(run):
    """Also where it ends in the middle of an answer: a page asks no more after that."""
    run.batch(1, 1.0)
    run.source.asked = lambda: setattr(run.source, "is_over", True)
    states = [run.state(), run.state()]
    assert [state["over"] for state in states] == [False, True] and states[1]["news"] == "The run has ended"


def test_an_end_that_the_log_does_not_tell(run):
    run.batch(1, 1.0)
    run.source.is_over, run.source.fault = True, "no space left on the device"
    state = run.state()
    assert state["over"] and state["news"] == "The run has ended with an error: no space left on the device"


def test_a_run_that_says_nothing_any_more(run):
    run.batch(1, 1.0)
    assert "Nothing for" not in run.text("status")
    run.clock.now += 3600
    assert "Nothing for 1 h" in run.text("status")
    run.source.moment = Moment("Training")  # known from elsewhere
    run.clock.now += 10
    assert "Nothing for" not in run.text("status")


def test_a_long_log_of_another_process_is_read_bit_by_bit(tmp_path, monkeypatch):
    """The page is there at once, says that it is not at the end, and draws nothing that would be another drawing soon."""
    monkeypatch.setattr(follow, "_PIECE", 1000)
    run = Run(tmp_path, is_own=False, acts={})
    for number in range(1, 40):
        run.batch(number, 1.0)
    run.write("end", 39)
    read, run.board.log.read = run.board.log.read, lambda: (setattr(run.clock, "now", run.clock.now + 3), read())[1]
    state = run.state()
    assert "still being read" in state["parts"]["status"][1] and set(state["parts"]) == {"status"}
    assert "ended" not in state["news"]
    while set(state["parts"]) == {"status"}:
        state = run.state()
    assert "still being read" not in state["parts"]["status"][1] and state["news"] == "The run has ended"
    assert run.board.log.history.done == 39


def test_odd_numbers_of_a_log(run):
    """Whole numbers beyond all floats, and what is no number: the page is shown."""
    run.write(
        "batch", 1, epoch=2**70, batch=1, seconds=10**400, progress=10**400, images_per_second="nan", **{"a.cost": 10**400}
    )
    assert run.board.gets[""]({}).body and run.state()["parts"]["status"]
    run.write("resume", 1, changes=[{"batches": 1, "minibatches": 0, "text": ["a"]}], time=0)
    assert run.state()["parts"]["status"]


def test_what_the_script_shows_is_printable(tmp_path):
    run = Run(tmp_path / "a\u202eb\x1b", is_own=False)
    run.write("change", 1, text=["\u202e\x1b"])
    state = run.state()
    assert state["title"] == "0 batches: a\\u202eb\\x1b" and state["news"] == "Change after 1 batches: \\u202e\\x1b"


def test_names_from_files_do_nothing_on_a_page(tmp_path):
    """Markup is shown, not obeyed, wherever it comes from."""
    evil = "<script>alert(1)</script>"
    run = Run(tmp_path, when=evil, moment=Moment(evil, evil, evil, evil, evil, evil), fault=evil)
    run.write("begin", 0, device=evil, net=evil)
    run.write("batch", 1, **{f"{evil}.{evil}": 1.0}, rates={evil: {evil: 1.0}})
    run.write("weights", 1, weights={evil: {evil: [1.0, 9.0]}})
    run.write("change", 1, text=[evil])
    run.write("error", 1, text=evil)
    state = run.state()
    page = run.board.gets[""]({}).body.decode()
    for text in (page, *(html for _, html in state["parts"].values())):
        assert "<script>alert" not in text
    assert evil in state["news"]  # which the script shows as text


def test_a_log_that_cannot_be_read_is_said(run):
    run.path.write_text("{broken}\n")
    assert "line 1 is not JSON" in run.text("status")
