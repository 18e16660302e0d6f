"""Commands' connection to the recorder, against a listener that speaks its protocol."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.client.http import ServerClient
from watchkeeper.client.recorder import RecorderClient
from watchkeeper.errors import DaemonError
from watchkeeper.settings import Places

SOURCE = Path(__file__).parents[2] / "src"
Listen = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(tmp_path)
    places.run.mkdir(mode=0o700)
    return places


@pytest.fixture
def listen(places: Places) -> Iterator[Listen]:
    """Answer one connection with the given lines and note what was asked."""
    threads: list[threading.Thread] = []
    asked: list[dict[str, Any]] = []

    def start(*lines: bytes) -> list[dict[str, Any]]:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(places.recorder_socket))
        listener.listen(1)

        def answer() -> None:
            with listener, listener.accept()[0] as connection, connection.makefile("rb") as reading:
                asked.append(json.loads(reading.readline()))
                for line in lines:
                    connection.sendall(line)

        threads.append(threading.Thread(target=answer))
        threads[-1].start()
        return asked

    yield start
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_no_socket_means_not_running_with_what_to_do(places: Places) -> None:
    client = RecorderClient(places)
    assert not client.is_running()
    with pytest.raises(DaemonError) as caught:
        client.ping()
    assert (caught.value.what, caught.value.hint) == ("the daemon is not running", "Start it with `wk up`.")
    assert caught.value.place == str(places.recorder_socket)


def test_a_socket_that_nobody_listens_at_means_not_running(places: Places) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(places.recorder_socket))
    assert places.recorder_socket.exists()
    with pytest.raises(DaemonError, match="not running"):
        RecorderClient(places).sync()


def test_a_listener_that_never_answers_is_not_taken_for_running(places: Places) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mute:
        mute.bind(str(places.recorder_socket))
        mute.listen(1)
        with pytest.raises(DaemonError, match="does not answer"):
            RecorderClient(places, timeout=0.05).ping()


def test_a_ping_is_a_round_trip(places: Places, listen: Listen) -> None:
    asked = listen(b'{"ok":true,"pid":7,"ledger_seq":12}\n')
    assert RecorderClient(places).ping() == {"ok": True, "pid": 7, "ledger_seq": 12}
    assert asked == [{"op": "ping"}]


def test_a_sync_says_how_long_it_may_take_and_how_stale_the_answer_is(places: Places, listen: Listen) -> None:
    asked = listen(b'{"ok":true,"ledger_seq":12,"stale_ms":40}\n')
    assert RecorderClient(places).sync(500)["stale_ms"] == 40
    assert asked == [{"op": "sync", "timeout_ms": 500}]


def test_an_answer_in_pieces_is_put_together(places: Places, listen: Listen) -> None:
    listen(b'{"ok":true,"sta', b'tus":{"a":"', b"x" * 200_000, b'"}}', b"\n")
    assert RecorderClient(places).status() == {"a": "x" * 200_000}


@pytest.mark.parametrize("paths", [None, ["/a", "/b"]])
def test_an_import_names_its_paths_or_all(places: Places, listen: Listen, paths: list[str] | None) -> None:
    report = {"files": 1, "lines": 2, "observations": 2, "skipped": []}
    asked = listen(json.dumps({"ok": True, "report": report}).encode() + b"\n")
    assert RecorderClient(places).import_paths(paths) == report
    assert asked == [{"op": "import", "paths": paths}]


def test_a_refusal_keeps_its_words(places: Places, listen: Listen) -> None:
    listen(b'{"ok":false,"error":{"code":"config","what":"no demo","why":"w","hint":"h","place":"p"}}\n')
    with pytest.raises(DaemonError) as caught:
        RecorderClient(places).demo()
    assert (caught.value.what, caught.value.why, caught.value.hint, caught.value.place) == (
        "no demo",
        "w",
        "h",
        "p",
    )


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{\n", b"\xff\n", b'{"ok":false}\n', b"", b'{"ok":true}'])
def test_an_answer_that_is_none_is_an_error_of_the_daemon(
    places: Places, listen: Listen, line: bytes
) -> None:
    listen(line)
    with pytest.raises(DaemonError):
        RecorderClient(places).ping()


def test_a_subscription_tells_what_comes_and_ends_with_the_recorder(places: Places, listen: Listen) -> None:
    listen(
        b'{"ok":true}\n{"event":"changed","sessions":["a"],"calls":[],"ledger_seq":1}\n',
        b'{"event":"status"}\n{"cut',
    )
    told = list(RecorderClient(places).subscribe())
    assert [one["event"] for one in told] == ["changed", "status"]


def test_a_home_with_a_long_path_is_reached(tmp_path: Path) -> None:
    places = Places(tmp_path / ("h" * 120))
    places.run.mkdir(mode=0o700, parents=True)
    with pytest.raises(DaemonError, match="not running"):
        RecorderClient(places).ping()


def test_the_server_that_is_not_there_is_reported_alike(places: Places) -> None:
    with pytest.raises(DaemonError, match="not running") as caught:
        ServerClient(places).signin()
    assert caught.value.hint == "Start it with `wk up`."


def test_quick_commands_pay_only_for_the_standard_library() -> None:
    """Neither asyncio nor any installed package comes with the recorder's client."""
    script = (
        "import sys, watchkeeper.client.recorder, watchkeeper.client.token\n"
        "foreign = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names) - {'watchkeeper'}\n"
        "print(sorted(name for name in foreign if not name.startswith('_')), 'asyncio' in sys.modules)\n"
    )
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": str(SOURCE)}
    )
    assert (done.stdout.strip(), done.returncode) == ("[] False", 0), done.stderr
