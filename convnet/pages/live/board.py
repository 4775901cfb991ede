"""What the page asks for: the whole document once, then the parts of it that have changed, as JSON.

All drawing is done here, in threads of the server, one at a time. A part is drawn again when what it shows has changed, but
so seldom that a small share of the time goes into it, however long the run and however many pages are open.
"""

import json
import math
import threading
import time
from collections.abc import Callable, Hashable
from hashlib import sha256

from convnet.errors import ConvnetError, first_line
from convnet.pages.live.filters import filters_part
from convnet.pages.live.follow import Followed
from convnet.pages.live.server import Answer, Query, Routes
from convnet.pages.live.sources import Source
from convnet.pages.live.view import (
    advice_part,
    age_text,
    curves_part,
    ending_of,
    layers_part,
    news_of,
    status_part,
)
from convnet.pages.parts import Html, element, joined, section, stylesheet
from convnet.texts import path_text, printable, shell_quoted

POLL = 1.0  # seconds between two questions of a page
_SELDOM, _SHARE = 2.0, 0.003  # seconds between two drawings of a part, and their share of the time
_READING = 2.0  # seconds in which a page waits for a long log to be read
_WIDTHS = (360, 720, 1160)  # pixels of drawings, for narrow and wide pages
_PARTS = {"advice": "Warnings", "curves": "Curves", "filters": "Filters", "layers": "Layers"}  # below the status
_FILES = {"style.css": "convnet.pages", "page.css": "convnet.pages.live", "page.js": "convnet.pages.live"}
_SAID = {
    "save": "Asked to save: a checkpoint follows after this minibatch",
    "stop": "Asked to stop: the run saves after this minibatch, and ends",
}
_BEHIND = "The log is long, and still being read: the run is further than this"
_UNMOVED = "Without a script the page shows the moment at which it was loaded, and its buttons do nothing."
_ELSEWHERE = "This page only watches: where the run was started, Ctrl-C stops it, and SIGUSR1 (kill -USR1 PID) saves."


class _Part:
    """HTML that is drawn by ``draw`` when its version is another one, and not too soon after the last time."""

    def __init__(self, clock: Callable[[], float], seldom: float) -> None:
        self.clock, self.seldom = clock, seldom
        self.html, self.mark = Html(""), ""
        self._version: Hashable = None
        self._due = -math.inf

    def renew(self, version: Hashable, draw: Callable[[], Html], at_once: bool) -> None:
        if version == self._version or (self.clock() < self._due and not at_once):
            return
        start = time.thread_time()
        try:
            self.html = draw()
        except (ConvnetError, ArithmeticError, ValueError, LookupError, TypeError) as error:
            self.html = element("p", f"This cannot be shown: {first_line(error)}", class_="warn")
        self._version, self.mark = version, sha256(self.html.encode("utf-8", "replace")).hexdigest()[:12]
        self._due = self.clock() + max(self.seldom, (time.thread_time() - start) / _SHARE)


class Board:
    """The page of the run whose log is ``log``; ``clock`` counts seconds, ``now`` those since 1970."""

    def __init__(
        self,
        log: Followed,
        source: Source,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.log, self.source, self.clock, self.now = log, source, clock, now
        self._one_at_a_time = threading.Lock()
        self._parts: dict[tuple[str, int], _Part] = {}

    @property
    def gets(self) -> Routes:
        """What the page asks for."""
        texts = {name: stylesheet(package, name) for name, package in _FILES.items()}
        kinds = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}

        def file(name: str) -> Callable[[Query], Answer]:
            return lambda _: Answer(kinds[name.rpartition(".")[2]], texts[name].encode())

        return {"": self._page, "state": self._state} | {name: file(name) for name in texts}

    @property
    def posts(self) -> Routes:
        """What the page's buttons do."""
        return {"save": lambda _: self._act("save"), "stop": lambda _: self._act("stop")}

    def _act(self, what: str) -> Answer:
        act = self.source.acts.get(what)
        if act:
            self.source.said = _SAID[what]  # first, since it is forgotten when that is done
            act()
        return _json({"done": act is not None})

    def _state(self, query: Query) -> Answer:
        """Return the parts that the page does not have; it says which it has, and how wide it is."""
        given = query.get("width", "")
        pixels = int(given) if given.isascii() and given.isdigit() and len(given) < 6 else _WIDTHS[1]
        width = max([wide for wide in _WIDTHS if wide <= pixels], default=_WIDTHS[0])
        known = set(query.get("known", "").split("-"))
        with self._one_at_a_time:
            is_over = self.source.is_over  # first, since a page that hears of it asks no more
            ending, parts = self._renewed(width)
            news = self._news(ending)
        changed = {name: [part.mark, part.html] for name, part in parts.items() if part.mark not in known}
        place = "ended" if ending else self.source.moment.place or f"{self.log.history.done:,.0f} batches"
        title = printable(f"{place}: {self.log.history.title}")
        acts = sorted(self.source.acts) if not ending else []
        return _json({"title": title, "news": news, "over": is_over, "acts": acts, "parts": changed})

    def _renewed(self, width: int) -> tuple[str, dict[str, _Part]]:
        """Return how the run has ended, if it has, and all parts, as new as they may be."""
        self.source.asked()
        is_behind = self._is_behind()
        log, source = self.log, self.source
        history, moment, version = log.history, source.moment, log.version
        ending = "" if is_behind else self._ending()
        remark = _BEHIND if is_behind else "" if ending or moment.doing else age_text(history, self.now())
        filters, when = source.filters, source.when
        drawn: dict[str, tuple[Hashable, Callable[[], Html]]] = {
            "status": ((version, moment, ending, remark, log.fault), lambda: status_part(log, moment, bool(ending), remark)),
            "advice": (version, lambda: advice_part(history)),
            "curves": (version, lambda: curves_part(history, width)),
            "filters": ((id(filters), when), lambda: filters_part(filters, when)),
            "layers": (version, lambda: layers_part(history)),
        }
        parts = {}
        for name, (what, draw) in drawn.items():
            key = name, width if name == "curves" else 0
            seldom = POLL / 2 if name == "status" else _SELDOM
            parts[name] = self._parts.setdefault(key, _Part(self.clock, seldom))
            if name == "status" or not is_behind:
                parts[name].renew(what, draw, source.is_over)
        return ending, parts

    def _is_behind(self) -> bool:
        """Read on in the log; return whether much of it is left. That of a run of this process is read in passing."""
        end = self.clock() + _READING
        while self.log.read() and not self.source.is_own:
            if self.clock() > end:
                return True
        return False

    def _ending(self) -> str:
        """Return how the run has ended; an empty text where it goes on.

        The log of a run of this process may still end as it did before that went on.
        """
        source, log = self.source, self.log
        if source.is_own and not source.is_over:
            return ""
        if source.fault:
            return f"The run has ended with an error: {source.fault}"
        found = ending_of(log.history, shell_quoted(path_text(log.path.parent)))
        return found or ("The run has ended" if source.is_over else "")

    def _news(self, ending: str) -> str:
        return printable(ending or self.source.said or news_of(self.log.history))

    def _page(self, _: Query) -> Answer:
        """Return the document, which shows what there is without the script, too."""
        with self._one_at_a_time:
            ending, parts = self._renewed(_WIDTHS[1])
            news = self._news(ending)
        shown = {name: part.html for name, part in parts.items()}
        text = _document(self.log.history.title, news, shown, self.source.is_own)
        return Answer("text/html; charset=utf-8", text.encode("utf-8", "replace"))


def _document(title: str, news: str, parts: dict[str, Html], is_own: bool) -> str:
    """Return the page; what changes is in elements that have the names of parts."""
    head = [
        element("meta", charset="utf-8"),
        element("title", title),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        *(element("link", rel="stylesheet", href=name) for name in _FILES if name.endswith(".css")),
        element("script", src="page.js", defer=True),
    ]
    buttons = [
        element("button", "Save now", id="save", type="button", disabled=True),
        element("button", "Stop …", id="stop", type="button", disabled=True),
        *([] if is_own else [element("p", _ELSEWHERE, class_="faint")]),
    ]
    question = element(
        "dialog",
        element("p", "Stop the run? It saves a checkpoint first, from which it can go on.", id="question"),
        element("button", "Stop it", id="yes", type="button"),
        element("button", "Let it go on", id="no", type="button", autofocus=True),
        id="ask", aria_labelledby="question",
    )  # fmt: skip
    body = [
        element("header", element("h1", title), element("p", news, id="news", role="status", aria_live="polite")),
        element(
            "main",
            element("noscript", element("p", _UNMOVED)),
            element("div", parts["status"], id="status"),
            element("div", *buttons, class_="buttons"),
            question,
            *(section(f"of-{name}", heading, element("div", parts[name], id=name)) for name, heading in _PARTS.items()),
        ),
    ]
    return f"<!DOCTYPE html>\n{element('html', element('head', joined(head)), element('body', joined(body)), lang='en')}\n"


def _json(value: object) -> Answer:
    return Answer("application/json", json.dumps(value).encode())
