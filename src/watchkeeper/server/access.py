"""Closes the server to other users and to web pages; everything passes here before a route sees it.

The rules, in their order, are those of ``docs/decisions/local-access.md``: the address must be a loopback
one, the page that asks must be our own, the caller must be known, and a body must be JSON or protobuf.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from watchkeeper.errors import WatchkeeperError
from watchkeeper.server.failures import (
    ForbiddenError,
    MediaTypeError,
    SignInNeededError,
    encode_error,
    status_of,
)
from watchkeeper.server.page import OPEN_FILES
from watchkeeper.server.signin import SignIns
from watchkeeper.server.signin_page import PAGE_POLICY, signin_page

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
"""The types of the ASGI specification, version 3."""
Caller = Literal["socket", "token", "browser"]

PEER = "watchkeeper.peer"
"""Scope key that the listener on the Unix socket sets to ``socket``; a client cannot set it."""
OPEN_PATHS = frozenset({"/health", "/metrics", "/auth"})
OPEN_FOLDER = "/assets/"
NOT_FOR_BROWSERS = ("/hook", "/api/local/")
"""What a signed-in browser may not do: a tricked page must neither forge events nor hand out access."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
BODY_TYPES = frozenset({"application/json", "application/x-protobuf", "application/protobuf"})
SIGN_IN_HINT = "Run `wk url` and open the address it prints, or send the token from run/token."


@dataclass
class Headers:
    """The request headers that decide about access; names in lower case."""

    scope: Scope
    values: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.values = {}
        for name, value in self.scope["headers"]:
            self.values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def only(self, name: str) -> str | None:
        """Return a header that was sent exactly once."""
        found = self.values.get(name, ())
        return found[0] if len(found) == 1 else None

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def cookie(self, name: str) -> str | None:
        """Return a cookie's value."""
        for line in self.values.get("cookie", ()):
            for part in line.split(";"):
                key, _, value = part.strip().partition("=")
                if key == name:
                    return value
        return None


class Access:
    """ASGI middleware around the whole application.

    Args:
        app: What is protected.
        port: The TCP port that is listened on.
        token: The API token.
        signins: The signed-in browsers.
    """

    def __init__(self, app: ASGIApp, port: int, token: str, signins: SignIns) -> None:
        self._app = app
        self._token = token.encode()
        self._signins = signins
        self.cookie_name = cookie_name(port)
        self._hosts = allowed_hosts(port)
        self._headers = security_headers(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through to the application, or answer it with what is missing."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        secured = self._secured(send)
        headers = Headers(scope)
        try:
            self._check(scope, headers)
        except WatchkeeperError as error:
            if isinstance(error, SignInNeededError) and _wants_page(scope):
                await _answer_page(scope, headers, secured)
            else:
                await refuse(scope, secured, error)
            return
        await self._app(scope, receive, secured)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = headers.only("host")
        if host is None or host.lower() not in self._hosts:
            raise ForbiddenError(
                "this address is not served",
                why="the Host header names no loopback address of this server",
                hint="Use http://127.0.0.1 with the server's port.",
            )
        _check_origin(scope, headers, host.lower())
        if is_open(scope["path"]) and scope["type"] == "http":
            return
        caller = self._caller(scope, headers)
        # The router takes several slashes for one.
        path = re.sub("/{2,}", "/", scope["path"])
        if caller == "browser" and path.startswith(NOT_FOR_BROWSERS):
            raise ForbiddenError("a browser may not do this", hint="Send the token from run/token.")
        _check_body_type(scope, headers)

    def _caller(self, scope: Scope, headers: Headers) -> Caller:
        if scope.get(PEER) == "socket":
            return "socket"
        if "authorization" in headers:
            kind, _, given = (headers.only("authorization") or "").partition(" ")
            if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), self._token):
                return "token"
            raise SignInNeededError("the token is not valid", hint="Send the token from run/token.")
        cookie = headers.cookie(self.cookie_name)
        if cookie and self._signins.knows(cookie):
            return "browser"
        raise SignInNeededError("you are not signed in", hint=SIGN_IN_HINT)

    def _secured(self, send: Send) -> Send:
        async def secured(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                sent = list(message.get("headers", []))
                names = {name.lower() for name, _ in sent}
                sent += [pair for pair in self._headers if pair[0] not in names]
                message["headers"] = sent
            await send(message)

        return secured


def mark_socket_peer(app: Access) -> ASGIApp:
    """Return the application as the listener on the owner-only Unix socket serves it."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        scope[PEER] = "socket"
        await app(scope, receive, send)

    return marked


def cookie_name(port: int) -> str:
    """Return the cookie's name; browsers do not keep the cookies of two ports apart, so the port is in it."""
    return f"watchkeeper_{port}"


def allowed_hosts(port: int) -> frozenset[str]:
    """Return what a Host header may say; a name that a foreign DNS server could point here is not in it."""
    names = ("127.0.0.1", "localhost", "[::1]")
    return frozenset(names) | frozenset(f"{name}:{port}" for name in names)


def security_headers(port: int) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer carries unless it has its own."""
    # A policy has no form for an address in brackets; there 'self' has to do.
    sockets = f"ws://127.0.0.1:{port} ws://localhost:{port}"
    policy = (
        f"default-src 'self'; connect-src 'self' {sockets}; img-src 'self' data:; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-frame-options", b"DENY"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cache-control", b"no-store"),
    ]


def is_open(path: str) -> bool:
    """Return whether anyone on this machine may ask for a path: it holds nothing of the user's."""
    if path in OPEN_PATHS or path in OPEN_FILES:
        return True
    return path.startswith(OPEN_FOLDER) and ".." not in path and "//" not in path


def _check_origin(scope: Scope, headers: Headers, host: str) -> None:
    if "origin" in headers and (headers.only("origin") or "").lower() != f"http://{host}":
        raise ForbiddenError(
            "another page may not ask this server", why="the Origin header is not this server's own"
        )
    site = headers.only("sec-fetch-site")
    if site in ("cross-site", "same-site"):
        # Following a link is harmless: the page that links sees nothing of the answer.
        follows_link = (
            scope["type"] == "http"
            and scope["method"] in SAFE_METHODS
            and headers.only("sec-fetch-mode") == "navigate"
            and headers.only("sec-fetch-dest") == "document"
        )
        if not follows_link:
            raise ForbiddenError(
                "another page may not ask this server", why="the browser says that another site asks"
            )


def _check_body_type(scope: Scope, headers: Headers) -> None:
    if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
        return
    if "content-type" not in headers:
        if headers.only("content-length") in (None, "0") and "transfer-encoding" not in headers:
            return
        given = ""
    else:
        given = (headers.only("content-type") or "").partition(";")[0].strip().lower()
    if given not in BODY_TYPES:
        raise MediaTypeError(
            "this kind of body is not taken", why=given or "no Content-Type", hint="Send application/json."
        )


def _wants_page(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    path = scope["path"]
    return path not in ("/api", "/hook", "/openapi.json") and not path.startswith(("/api/", "//", "/hook/"))


async def _answer_page(scope: Scope, headers: Headers, send: Send) -> None:
    # A strict cookie is not sent along a link from another site; asking again from our own page sends it.
    again = quote(scope["path"]) if headers.only("sec-fetch-site") in ("cross-site", "same-site") else None
    body = signin_page(again)
    start: list[tuple[bytes, bytes]] = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"content-security-policy", PAGE_POLICY),
    ]
    await _send_http(send, 401, start, body)


async def refuse(scope: Scope, send: Send, error: WatchkeeperError) -> None:
    """Answer a request, or a WebSocket's handshake, with an error."""
    body = encode_error(error)
    start = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if scope["type"] == "http":
        await _send_http(send, status_of(error), start, body)
    elif "websocket.http.response" in (scope.get("extensions") or {}):
        await _send_http(send, status_of(error), start, body, kind="websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": error.what})


async def _send_http(
    send: Send,
    status: int,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    kind: str = "http.response",
) -> None:
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body, "more_body": False})
