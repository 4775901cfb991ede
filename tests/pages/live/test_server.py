"""Who is answered, and who is not: plain requests, in which every rule is broken once."""

import http.client
import re
import socket
import threading
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest

from convnet.errors import OptionError
from convnet.pages.live import server as serving
from convnet.pages.live.server import Answer, PageServer


class Served:
    """A server with one page and one button, and what the button was pressed for."""

    def __init__(self):
        self.pressed = []
        gets = {
            "": lambda query: Answer("text/plain", b"page"),
            "state": lambda query: Answer("text/plain", repr(dict(query)).encode()),
        }
        gets["broken"] = lambda query: 1 / 0
        self.server = PageServer(0, gets, {"stop": self.press})
        self.port, self.token = self.server.port, urlsplit(self.server.address).path.strip("/")
        self.host = f"127.0.0.1:{self.port}"

    def press(self, query):
        self.pressed.append(query)
        return Answer("text/plain", b"pressed")

    def ask(self, method, path, body=None, **headers):
        """Status, headers and body of a request; ``None`` as a header leaves it out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in ({"Host": self.host} | headers).items():
            for one in [value] if isinstance(value, str) else value or ():
                connection.putheader(name.replace("_", "-"), one)
        connection.endheaders(body)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    def post(self, name="stop", **headers):
        return self.ask("POST", f"/{self.token}/{name}", **({"Origin": f"http://{self.host}"} | headers))


@pytest.fixture(scope="module")
def one_for_all():
    served = Served()
    with served.server:
        yield served


@pytest.fixture
def served(one_for_all):
    one_for_all.pressed.clear()
    return one_for_all


def test_the_page_is_there_for_those_who_know_its_address(served):
    status, _, body = served.ask("GET", f"/{served.token}/")
    assert (status, body) == (200, b"page")
    assert served.server.address == f"http://127.0.0.1:{served.port}/{served.token}/" and len(served.token) > 40
    assert served.ask("HEAD", f"/{served.token}/")[2] == b""
    assert served.ask("GET", f"/{served.token}/state?width=400&known=a-b")[2] == b"{'width': '400', 'known': 'a-b'}"
    assert served.ask("GET", f"/{served.token}/", Host=f"localhost:{served.port}")[0] == 200


def test_it_listens_on_this_machine_alone(served):
    assert served.server._listener.server_address[0] == "127.0.0.1"
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in others:
        with pytest.raises(OSError):
            socket.create_connection((address, served.port), timeout=2).close()


PATHS = ["/", "/{wrong}/", "/{wrong}/state", "/{wrong}/stop", "/{part}/", "/{token}x/", "/{token}", "/{token}/nothing",
         "/{token}/../state", "/%00/", "/favicon.ico", "http://127.0.0.1/{token}/", "*", "/é/"]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "TRACE"])
@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_there_is_nothing(served, method, path):
    wrong = "A" * len(served.token)
    asked = path.format(wrong=wrong, token=served.token, part=served.token[:-1]).encode().decode("latin-1")
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    request = f"{method} {asked} HTTP/1.1\r\nHost: {served.host}\r\nOrigin: http://{served.host}\r\n\r\n"
    with connection:
        connection.sendall(request.encode("latin-1"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1.0 (404|501) ", head) and body == b""
    assert served.token.encode() not in answer and b"Python" not in answer
    assert served.pressed == []


@pytest.mark.parametrize(
    "hosts",
    [None, "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost", "127.0.0.1:{port}.evil.example",
     "[::1]:{port}", ["127.0.0.1:{port}", "evil.example"], ["127.0.0.1:{port}", "127.0.0.1:{port}"]],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_name_for_this_machine_gets_nothing(served, hosts, method):
    """As of a page whose name leads here after it was loaded (DNS rebinding)."""
    given = [host.format(port=served.port) for host in ([hosts] if isinstance(hosts, str) else hosts or ())]
    origin = f"http://{given[0] if given else served.host}"
    name = "stop" if method == "POST" else ""
    assert served.ask(method, f"/{served.token}/{name}", Host=given, Origin=origin)[::2] == (403, b"")
    assert served.pressed == []


def test_a_button_of_the_page(served):
    assert served.post()[::2] == (200, b"pressed")
    assert served.post(**{"Sec-Fetch-Site": "same-origin"})[0] == 200
    local = f"localhost:{served.port}"
    assert served.post(Host=local, Origin=f"http://{local}")[0] == 200
    assert len(served.pressed) == 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": None},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "https://{host}"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:{port}"},  # which is another origin than 127.0.0.1
        {"Origin": ["http://{host}", "http://{host}"]},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": ["same-origin", "cross-site"]},
    ],
)
def test_a_button_pressed_from_elsewhere_does_nothing(served, headers):
    def filled(value):
        return value.format(host=served.host, port=served.port)

    given = {
        name: value and (filled(value) if isinstance(value, str) else [*map(filled, value)])
        for name, value in headers.items()
    }
    assert served.post(**given)[::2] == (403, b"")
    assert served.pressed == []


@pytest.mark.parametrize(
    "method, name, status",
    [
        ("GET", "stop", 405),
        ("HEAD", "stop", 405),
        ("POST", "state", 405),
        ("POST", "", 405),
        ("PUT", "stop", 501),
        ("OPTIONS", "stop", 501),
    ],
)
def test_nothing_changes_but_by_post(served, method, name, status):
    answer = served.ask(method, f"/{served.token}/{name}", Origin=f"http://{served.host}")
    assert answer[::2] == (status, b"") and served.pressed == []


def test_every_answer_forbids_what_a_page_does_not_need(served):
    answers = [
        served.ask("GET", f"/{served.token}/"),
        served.ask("GET", "/"),
        served.ask("PUT", "/"),
        served.post(),
        served.post(Origin="null"),
    ]
    assert [answer[0] for answer in answers] == [200, 404, 501, 200, 403]
    for _, headers, _ in answers:
        rules = dict(rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";"))
        assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
        assert rules["script-src"] == rules["connect-src"] == "'self'" and rules["img-src"] == "data:"
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store" and headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert not {name for name in headers if name.lower().startswith("access-control-")} and "Server" not in headers


@pytest.mark.parametrize(
    "extra, body, status",
    [
        ({"Content-Length": "4"}, b"data", 413),
        ({"Content-Length": "-1"}, None, 413),
        ({"Content-Length": "x"}, None, 413),
        ({"Content-Length": ["0", "4"]}, b"data", 413),
        ({"Transfer-Encoding": "chunked"}, b"0\r\n\r\n", 413),
        ({"X-Long": "x" * serving.HEAD}, None, 431),
    ],
)
def test_a_request_has_no_body_and_a_short_head(served, extra, body, status):
    assert served.ask("POST", f"/{served.token}/stop", body, Origin=f"http://{served.host}", **extra)[::2] == (status, b"")
    assert served.pressed == []


def test_fields_without_end(served):
    assert served.ask("GET", f"/{served.token}/state?" + "a=1&" * 99)[::2] == (400, b"")


def test_a_fault_of_the_page_is_nobody_elses(served, capfd):
    assert served.ask("GET", f"/{served.token}/broken")[::2] == (500, b"")
    assert served.ask("GET", f"/{served.token}/")[2] == b"page"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"GET", b"GET / HTTP/9.9\r\n\r\n", b"GET /{token}/\r\n\r\n", b"\r\n" * 5000, b"POST " * 9000]
)
def test_what_is_no_request_disturbs_nobody(served, data, capfd):
    answer = b""
    with suppress(OSError), socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(data.replace(b"{token}", served.token.encode()))  # which may be cut off
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"page" not in answer
    assert served.ask("GET", f"/{served.token}/")[2] == b"page"
    assert capfd.readouterr() == ("", "")


def test_who_is_slow_or_comes_in_crowds_is_cut_off(monkeypatch):
    """A crowd takes all places, the next one is turned away, and those who say nothing lose theirs."""
    monkeypatch.setattr(serving, "SECONDS", 1.0)
    served = Served()
    with served.server:
        crowd = [socket.create_connection(("127.0.0.1", served.port), timeout=10) for _ in range(serving.CONNECTIONS)]
        for one in crowd:
            one.sendall(b"GET / HTTP/1.1\r\nX: ")
        with pytest.raises((ConnectionError, http.client.BadStatusLine)):
            while True:  # until all of them have been taken in
                served.ask("GET", f"/{served.token}/")
        assert threading.active_count() < serving.CONNECTIONS + 20
        for one in crowd:
            while one.recv(65536):
                pass
            one.close()
        assert served.ask("GET", f"/{served.token}/")[2] == b"page"


def test_a_crowd_that_says_nothing_keeps_nobody_out_for_long(monkeypatch):
    """Where all connections are in use, they are cut off sooner than where there are others."""
    monkeypatch.setattr(serving, "CROWDED", 0.3)
    monkeypatch.setattr(serving, "SECONDS", 1000.0)
    served = Served()
    with served.server, ExitStack() as crowd:
        for _ in range(serving.CONNECTIONS):
            crowd.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=10))
        answer = None
        while answer is None:  # for ever, if they were not
            with suppress(ConnectionError, http.client.BadStatusLine):
                answer = served.ask("GET", f"/{served.token}/")
        assert answer[2] == b"page"


def test_port_80_is_not_said_by_browsers(served, monkeypatch):
    monkeypatch.setattr(served.server._listener, "server_address", ("127.0.0.1", 80))
    assert served.ask("GET", f"/{served.token}/", Host="127.0.0.1")[0] == 200
    assert served.post(Host="localhost", Origin="http://localhost")[0] == 200
    assert served.post(Host="127.0.0.1:80", Origin="http://127.0.0.1:80")[0] == 403


def test_no_port_at_all(monkeypatch):
    def refused(port):
        raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(serving, "_Listener", refused)
    with pytest.raises(OptionError, match=r"no port of 127\.0\.0\.1 can be had: Cannot assign requested address"):
        PageServer(0, {}, {})


def test_ports(served):
    with pytest.raises(OptionError, match=f"port {served.port} of 127.0.0.1 cannot be had: .*in use; name another, or none"):
        PageServer(served.port, {}, {})
    other = PageServer(0, {}, {})  # the next that is free
    assert other.port != served.port
    other.close()
    with PageServer(other.port, {"": lambda _: Answer("text/plain", b"new")}, {}) as again:
        assert again.port == other.port and served.token not in again.address


def test_tokens_are_compared_in_the_same_time_whatever_they_are(served, monkeypatch):
    """All of them by ``hmac.compare_digest``, also where nothing is said or the host is wrong."""
    seen = []
    compare = serving.hmac.compare_digest
    monkeypatch.setattr(serving.hmac, "compare_digest", lambda a, b: seen.append(a) or compare(a, b))
    for path in ("/", "/x/", f"/{served.token}/", "/x/stop"):
        served.ask("GET", path)
    served.ask("GET", "/y/", Host="evil.example")
    assert seen == [b"", b"x", served.token.encode(), b"x", b"y"]
