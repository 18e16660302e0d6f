"""The server as a process of its own, over its real sockets: who may ask for what, and how it starts and ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from watchkeeper.client.http import ServerClient
from watchkeeper.client.token import read_token
from watchkeeper.errors import DaemonError
from watchkeeper.server.openapi import document
from watchkeeper.settings import Places
from watchkeeper.spool.frames import SEGMENT_HEADER, FrameKind, decode_frames

SOURCE = Path(__file__).parents[2] / "src"
ROUTES = [
    (method.upper(), re.sub(r"\{\w+\}", "x", path))
    for path, methods in json.loads(document())["paths"].items()
    for method in methods
    if path != "/api/live"
] + [("GET", "/openapi.json"), ("GET", "/"), ("GET", "/sessions/x")]
OPEN = {"/health", "/metrics", "/auth"}
FOR_OWN_PROCESSES = {"/hook", "/api/local/signin-code"}
LOCKED_OUT = {401, 403}


class Served:
    """A running server process."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.places = Places(home)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "WATCHKEEPER_HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home / "claude"),
            "PYTHONPATH": str(SOURCE),
            "PYTHONWARNINGS": "error",
        }
        command = [
            sys.executable,
            "-m",
            "watchkeeper.server",
            "--home",
            str(home),
            *(arguments or ("--port", "0")),
        ]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self.client = ServerClient(self.places)
        self._await()
        self.port = int(self.client.signin()["url"].split(":")[2].split("/")[0])

    def _await(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self.client.get("/health")
                return
            except DaemonError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.process.kill()
                    raise AssertionError(self.process.communicate()[1]) from None
                time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask over TCP with exactly these headers; ``Host`` is right unless given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            sent = {"Host": f"127.0.0.1:{self.port}"} | (headers or {})
            if body is not None:
                sent |= {"Content-Length": str(len(body))}
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()

    def cookie(self) -> str:
        code = self.client.signin()["code"]
        status, headers, _ = self.ask("GET", f"/auth?code={code}")
        assert status == 303
        return headers["set-cookie"].partition(";")[0]

    @property
    def token(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {read_token(self.places)}"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("home")
    (home / "spool").mkdir(mode=0o700)
    server = Served(home)
    try:
        yield server
        status, errors = server.stop()
        assert status == 0, errors
    finally:
        server.process.kill()
        server.process.wait()


def request_for(method: str, path: str) -> tuple[dict[str, str], bytes | None]:
    return (
        ({"Content-Type": "application/json"}, b'{"hook_event_name":"Stop"}')
        if method == "POST"
        else ({}, None)
    )


@pytest.mark.parametrize(("method", "path"), ROUTES)
class TestEveryRoute:
    """The authorisation matrix, over all routes the description names and the page's."""

    def test_without_cookie_or_token_only_what_names_nothing_is_open(
        self, served: Served, method: str, path: str
    ) -> None:
        if path == "/auth":
            pytest.skip("it takes a code instead; see below")
        headers, body = request_for(method, path)
        status, _, _ = served.ask(method, path, headers, body)
        assert (status == 200) if path in OPEN else (status == 401)

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "localhost.evil.example", ""]
    )
    def test_a_foreign_host_name_is_refused_even_with_the_token(
        self, served: Served, method: str, path: str, host: str
    ) -> None:
        headers, body = request_for(method, path)
        headers |= served.token | {"Host": host.format(port=served.port)}
        assert served.ask(method, path, headers, body)[0] == 403

    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1"]
    )
    def test_a_foreign_origin_is_refused_even_with_the_token(
        self, served: Served, method: str, path: str, origin: str
    ) -> None:
        headers, body = request_for(method, path)
        assert served.ask(method, path, headers | served.token | {"Origin": origin}, body)[0] == 403

    def test_the_token_opens_it(self, served: Served, method: str, path: str) -> None:
        if path == "/auth":
            pytest.skip("it takes a code instead; see below")
        headers, body = request_for(method, path)
        assert served.ask(method, path, headers | served.token, body)[0] not in LOCKED_OUT

    def test_a_wrong_token_does_not_open_it(self, served: Served, method: str, path: str) -> None:
        if path in OPEN:
            pytest.skip("it is open")
        headers, body = request_for(method, path)
        for wrong in ("Bearer wrong", "Bearer", "", served.token["Authorization"].replace("Bearer", "Basic")):
            assert served.ask(method, path, headers | {"Authorization": wrong}, body)[0] == 401

    def test_a_cookie_opens_it_unless_it_is_for_own_processes(
        self, served: Served, method: str, path: str
    ) -> None:
        if path == "/auth":
            pytest.skip("it takes a code instead; see below")
        headers, body = request_for(method, path)
        headers |= {"Cookie": f"other=1; {served.cookie()}", "Origin": f"http://127.0.0.1:{served.port}"}
        status, _, _ = served.ask(method, path, headers, body)
        assert (status == 403) if path in FOR_OWN_PROCESSES else (status not in LOCKED_OUT)

    def test_an_invented_cookie_does_not_open_it(self, served: Served, method: str, path: str) -> None:
        if path in OPEN:
            pytest.skip("it is open")
        headers, body = request_for(method, path)
        cookie = f"watchkeeper_{served.port}=invented; watchkeeper_1={served.cookie().partition('=')[2]}"
        assert served.ask(method, path, headers | {"Cookie": cookie}, body)[0] == 401

    def test_every_answer_carries_the_headers_that_close_it_to_pages(
        self, served: Served, method: str, path: str
    ) -> None:
        headers, body = request_for(method, path)
        _, answered, _ = served.ask(method, path, headers, body)
        assert "default-src" in answered["content-security-policy"]
        assert answered["x-content-type-options"] == "nosniff"
        assert answered["referrer-policy"] == "no-referrer"
        assert answered["x-frame-options"] == "DENY"
        assert not [name for name in answered if name.startswith("access-control-")]


def test_the_own_socket_opens_without_cookie_or_token(served: Served) -> None:
    assert served.client.get("/api/status")["home"] == str(served.places.home)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "localhost", "LOCALHOST"]
)
def test_each_loopback_name_is_served_to_its_own_page(served: Served, host: str) -> None:
    name = host.format(port=served.port)
    headers = served.token | {"Host": name, "Origin": f"http://{name}"}
    assert served.ask("GET", "/api/status", headers)[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_may_link_here_but_not_embed_or_fetch(served: Served, site: str) -> None:
    cookie = {"Cookie": served.cookie(), "Sec-Fetch-Site": site}
    linked = cookie | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    framed = cookie | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    assert served.ask("GET", "/api/status", linked)[0] == 200
    assert served.ask("GET", "/api/status", framed)[0] == 403
    assert served.ask("GET", "/api/status", cookie | {"Sec-Fetch-Mode": "no-cors"})[0] == 403


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "text/json"],
)
@pytest.mark.parametrize("path", ["/hook", "/api/demo", "/api/local/signin-code"])
def test_a_body_that_a_form_could_send_is_refused(served: Served, path: str, kind: str) -> None:
    status, _, body = served.ask("POST", path, served.token | {"Content-Type": kind}, b'{"a":1}')
    assert status == 415
    assert json.loads(body)["error"]["code"] == "unsupported_media_type"


@pytest.mark.parametrize("path", ["//hook", "/%68ook", "/api//local/signin-code", "//api/local/signin-code"])
def test_a_browser_is_kept_out_however_the_path_is_written(served: Served, path: str) -> None:
    headers = {"Cookie": served.cookie(), "Content-Type": "application/json"}
    assert served.ask("POST", path, headers, b'{"hook_event_name":"Stop","session_id":"s"}')[0] == 403


def test_a_body_without_a_type_is_refused(served: Served) -> None:
    assert served.ask("POST", "/hook", served.token, b"{}")[0] == 415


def test_a_preflight_from_another_page_is_refused(served: Served) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert served.ask("OPTIONS", "/hook", headers)[0] == 403


def test_a_sign_in_address_works_once_and_gives_a_strict_cookie(served: Served) -> None:
    code = served.client.signin()["code"]
    status, headers, _ = served.ask("GET", f"/auth?code={code}")
    assert (status, headers["location"]) == (303, "/")
    attributes = {part.strip().lower() for part in headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    status, headers, body = served.ask("GET", f"/auth?code={code}")
    assert status == 401
    assert "set-cookie" not in headers
    assert b"wk url" in body


@pytest.mark.parametrize("query", ["", "?code=", "?code=invented", "?code=" + "x" * 150])
def test_an_invented_code_signs_nobody_in(served: Served, query: str) -> None:
    status, headers, _ = served.ask("GET", f"/auth{query}")
    assert status == 401
    assert "set-cookie" not in headers


def test_a_browser_that_is_signed_in_is_not_told_off_for_a_used_address(served: Served) -> None:
    code = served.client.signin()["code"]
    cookie = served.ask("GET", f"/auth?code={code}")[1]["set-cookie"].partition(";")[0]
    assert served.ask("GET", f"/auth?code={code}", {"Cookie": cookie})[0] == 303


def test_an_unknown_browser_is_told_how_to_sign_in(served: Served) -> None:
    status, headers, body = served.ask("GET", "/sessions/abc")
    assert status == 401
    assert headers["content-type"].startswith("text/html")
    assert b"<code>wk url</code>" in body
    assert b"http-equiv" not in body


def test_a_link_from_elsewhere_asks_again_from_our_own_page_without_letting_the_path_out(
    served: Served,
) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    _, _, body = served.ask("GET", "/sessions/%22%3E%3Cscript%3E", headers)
    assert b'content="0;url=/sessions/%22%3E%3Cscript%3E"' in body
    assert b"<script" not in body


@pytest.mark.parametrize(
    "path",
    ["//api/status", "/assets/../api/status", "/assets//../api/status", "/health/", "/health/../api/status"],
)
def test_a_crooked_path_gets_no_further_than_the_straight_one(served: Served, path: str) -> None:
    status, _, body = served.ask("GET", path)
    assert status in {401, 404}
    assert b"home" not in body


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/nope", 404, "not_found"),
        ("GET", "/api/sessions/nope", 404, "not_found"),
        ("GET", "/api/sessions/nope/timeline", 404, "not_found"),
        ("GET", "/api/calls/nope", 404, "not_found"),
        ("GET", "/api/coverage?session=nope", 404, "not_found"),
        ("PUT", "/api/status", 405, "method_not_allowed"),
        ("GET", "/hook", 405, "method_not_allowed"),
        ("GET", "/api/sessions?limit=0", 400, "usage"),
        ("GET", "/api/sessions?limit=many", 400, "usage"),
        ("GET", "/api/sessions?since=soon", 400, "usage"),
        ("GET", "/api/sessions?cursor=x", 400, "usage"),
        ("GET", "/api/sessions/x/timeline?limit=10001", 400, "usage"),
        ("POST", "/api/demo", 503, "daemon"),
    ],
)
def test_every_error_has_the_one_shape(
    served: Served, method: str, path: str, status: int, code: str
) -> None:
    answered, headers, body = served.ask(method, path, served.token)
    assert (answered, headers["content-type"]) == (status, "application/json")
    error = json.loads(body)["error"]
    assert error["code"] == code
    assert set(error) <= {"code", "what", "why", "hint", "place"}


def test_an_empty_home_reads_as_empty(served: Served) -> None:
    listed = served.client.get("/api/sessions")
    assert (listed["sessions"], listed["total"], listed["next"]) == ([], 0, None)
    status = served.client.get("/api/status")
    assert status["demo_available"] is True
    assert status["parts"] == {"decider": "down", "recorder": "down", "server": "up"}
    assert status["import_progress"]["running"] is False


def test_metrics_are_well_formed_and_name_nothing(served: Served) -> None:
    _, headers, body = served.ask("GET", "/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [line for line in body.decode().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'watchkeeper_[a-z_]+(\{[a-z]+="[\w.]+"\})? \d+', line) for line in samples)
    assert "watchkeeper_up 1" in samples
    assert str(served.places.home) not in body.decode()


def test_health_names_nothing(served: Served) -> None:
    answer = json.loads(served.ask("GET", "/health")[2])
    assert set(answer) == {"status", "version", "parts"}


def spooled(places: Places) -> list[tuple[int, bytes]]:
    data = (places.spool / "current.wks").read_bytes()
    located = list(decode_frames(data, SEGMENT_HEADER.size))
    assert all(one.damage is None for one in located)
    return [(one.frame.kind, one.frame.payload) for one in located if one.frame]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"hook_event_name":"Stop","session_id":"s"}',
        b' {"text":"\\ud800 alone, \xc3\xa9"}\n',
        b'{"deep":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"long":"' + b"x" * 3_000_000 + b'"}',
    ],
)
def test_an_event_over_http_is_in_the_spool_when_it_is_answered(served: Served, payload: bytes) -> None:
    headers = served.token | {"Content-Type": "application/json; charset=utf-8"}
    status, _, body = served.ask("POST", "/hook", headers, payload)
    assert (status, body) == (200, b"{}")
    assert spooled(served.places)[-1] == (FrameKind.HTTP_EVENT, payload)


@pytest.mark.parametrize("payload", [b"", b"[]", b"1", b'{"a":', b"\xff\xfe", b'"text"'])
def test_what_is_no_event_is_refused_and_spoils_nothing(served: Served, payload: bytes) -> None:
    headers = served.token | {"Content-Type": "application/json"}
    served.ask("POST", "/hook", headers, b'{"before":1}')
    status, _, body = served.ask("POST", "/hook", headers, payload)
    assert status == 400
    assert json.loads(body)["error"]["place"] == "body"
    assert spooled(served.places)[-1][1] == b'{"before":1}'


def test_an_event_beyond_the_limit_is_refused(served: Served) -> None:
    payload = b'{"a":"' + b"x" * (16 << 20) + b'"}'
    headers = served.token | {"Content-Type": "application/json", "Expect": "100-continue"}
    try:
        status, _, body = served.ask("POST", "/hook", headers, payload)
    except (BrokenPipeError, ConnectionResetError):
        pytest.skip("the server hung up while the body was being sent, which is its right")
    assert status == 413
    assert json.loads(body)["error"]["code"] == "too_large"


def test_an_event_rings_the_recorders_bell(served: Served) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(str(served.places.doorbell_socket))
        bell.settimeout(20)
        served.client.post("/hook", {"hook_event_name": "Stop"})
        assert bell.recv(16) == b"!"
    served.places.doorbell_socket.unlink()


def test_a_connection_serves_many_requests(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("GET", "/health")
            assert connection.getresponse().read().startswith(b'{"status":"ok"')


def test_sockets_and_files_are_the_owners_alone(served: Served) -> None:
    run = served.places.run
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    served.cookie()
    for path in run.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_restart_keeps_the_browser_and_the_token_and_leaves_no_socket(tmp_path: Path) -> None:
    first = Served(tmp_path)
    cookie, token = first.cookie(), first.token
    code = first.client.signin()["code"]
    assert first.stop() == (0, "")
    assert not first.places.server_socket.exists()
    second = Served(tmp_path, "--port", str(first.port))
    assert second.ask("GET", "/api/status", {"Cookie": cookie})[0] == 200
    assert second.ask("GET", "/api/status", token)[0] == 200
    assert second.ask("GET", f"/auth?code={code}")[0] == 401
    assert second.stop(signal.SIGINT)[0] == 0


def test_what_a_killed_server_left_behind_is_taken_over(tmp_path: Path) -> None:
    first = Served(tmp_path)
    first.process.kill()
    first.process.communicate(timeout=20)
    assert first.places.server_socket.exists()
    with pytest.raises(DaemonError, match="not running"):
        first.client.get("/health")
    second = Served(tmp_path)
    assert second.stop() == (0, "")


def test_a_second_server_of_the_same_home_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    first = Served(tmp_path)
    with pytest.raises(AssertionError, match="another server of this home is running"):
        served_second(tmp_path)
    assert first.client.get("/health")["status"] == "ok"
    first.stop()


def served_second(home: Path) -> None:
    command = [sys.executable, "-m", "watchkeeper.server", "--home", str(home), "--port", "0"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_taken_port_is_said_plainly_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(AssertionError, match=rf"port {port} is taken by another program.*--port N"):
            Served(tmp_path, "--port", port)
    assert not Places(tmp_path).server_socket.exists()


def test_a_token_that_others_can_read_stops_the_server(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.run.mkdir(mode=0o700)
    places.token.write_text("x" * 43)
    places.token.chmod(0o644)
    with pytest.raises(AssertionError, match="API token cannot be used"):
        Served(tmp_path)


def test_a_home_with_a_long_path_is_served(tmp_path: Path) -> None:
    home = tmp_path / ("h" * 120)
    home.mkdir()
    server = Served(home)
    assert server.stop() == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_cut_off_at_the_own_socket(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Even where the folder's mode was opened by hand, the kernel's word on the peer counts."""
    home = tmp_path_factory.mktemp("h")
    server = Served(home)
    folders = [server.places.run, *server.places.run.parents[:-1]]
    modes = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in folders}
    for folder in folders:
        folder.chmod(modes[folder] | 0o055)
    server.places.server_socket.chmod(0o666)
    script = (
        "import os,socket,sys\nos.setgid(65534); os.setuid(65534)\ns=socket.socket(socket.AF_UNIX)\ns.settimeout(10)\n"
        "s.connect(sys.argv[1])\ntry:\n s.sendall(b'GET /health HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n')\n"
        " print(len(s.recv(100)))\nexcept OSError: print(0)\n"
    )
    try:
        command = [sys.executable, "-c", script, str(server.places.server_socket)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr
    finally:
        for folder in folders[1:]:
            folder.chmod(modes[folder])
        server.stop()
