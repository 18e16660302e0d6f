"""The server process: ``python -m watchkeeper.server --home HOME [--port N]``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from watchkeeper.errors import WatchkeeperError
from watchkeeper.managed import folder_mode
from watchkeeper.server.access import ASGIApp, mark_socket_peer
from watchkeeper.server.application import build_application
from watchkeeper.server.listeners import is_same_user, listen_tcp, listen_unix, prepare_run_folder
from watchkeeper.server.service import Service
from watchkeeper.settings import Places, Settings

KEEP_ALIVE_SECONDS = 3600
"""An agent's HTTP hooks pause as long as its user does; a connection closed meanwhile costs it an event."""
GRACE_SECONDS = 2
WEBSOCKET_LIMIT = 64 << 10
"""Bytes of a message from a browser."""


class SameUserProtocol(H11Protocol):
    """HTTP on the Unix socket, for processes of this user only."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or cut it where the kernel says that the peer is another user."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is None or not is_same_user(connection):
            transport.abort()


class QuietServer(uvicorn.Server):
    """A server that shares its loop and its signals with another, and does nothing while nothing happens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `serve`."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end, rather than look for it ten times a second."""
        await self.on_tick(0)
        await self.stop.wait()


def serve(places: Places, port: int | None = None, settings: Settings | None = None) -> None:
    """Serve one home on 127.0.0.1 and on its Unix socket until SIGTERM or SIGINT.

    Args:
        places: The home.
        port: The TCP port; the setting's by default; 0 takes a free one.
        settings: The home's settings, where the caller has them.

    Raises:
        LockedError: The port is taken, or another server of this home is running.
        ConfigError: The port, the run folder or the token cannot be used.
    """
    settings = settings or Settings(places.home)
    prepare_run_folder(places.run, folder_mode(places, places.run))
    with contextlib.ExitStack() as stack:
        unix = stack.enter_context(listen_unix(places.server_socket))
        stack.callback(_remove_socket, places.server_socket, places.server_socket.stat().st_ino)
        tcp = stack.enter_context(listen_tcp(settings["server.port"] if port is None else port))
        service = Service(settings, tcp.getsockname()[1])
        stack.callback(service.close)
        asyncio.run(_serve(service, tcp, unix))


async def _serve(service: Service, tcp: socket.socket, unix: socket.socket) -> None:
    app = build_application(service)
    servers = [_server(app, H11Protocol), _server(mark_socket_peer(app), SameUserProtocol)]
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in servers:
            server.should_exit = True
            server.stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    background = [asyncio.create_task(service.link.run()), asyncio.create_task(service.hub.run())]
    for task in background:
        # A defect there must end the process, so that it is started anew rather than half alive.
        task.add_done_callback(lambda _: stop())
    # What was loaded until now stays for good; the collector need not look at it again.
    gc.collect()
    gc.freeze()
    await asyncio.gather(*(server.serve([one]) for server, one in zip(servers, (tcp, unix), strict=True)))
    for task in background:
        task.cancel()
    for outcome in await asyncio.gather(*background, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


def _server(app: ASGIApp, protocol: type[asyncio.Protocol]) -> QuietServer:
    return QuietServer(
        uvicorn.Config(
            app,
            http=protocol,
            ws="websockets-sansio",
            ws_max_size=WEBSOCKET_LIMIT,
            ws_per_message_deflate=False,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )


def _remove_socket(path: Path, inode: int) -> None:
    # Only our own: a successor may have put its socket there.
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_ino == inode:
            path.unlink()


def main(arguments: list[str] | None = None) -> int:
    """Run the server; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m watchkeeper.server", description=serve.__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the Watchkeeper home")
    parser.add_argument("--port", type=int, help="the port on 127.0.0.1")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s server %(levelname)s %(message)s")
    os.umask(0o077)
    try:
        serve(Places(given.home.absolute()), given.port)
    except WatchkeeperError as error:
        logging.getLogger("watchkeeper.server").error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
