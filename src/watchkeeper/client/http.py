"""HTTP to the server over its Unix socket, for commands of the same user."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from watchkeeper.client.sockets import connect, not_running
from watchkeeper.errors import DaemonError
from watchkeeper.settings import Places


class ServerClient:
    """Asks the server of one home through ``run/server.sock``; needs neither cookie nor token.

    Args:
        places: The home.
        timeout: Seconds to wait for an answer.
    """

    def __init__(self, places: Places, timeout: float = 5.0) -> None:
        self.path = places.server_socket
        self.timeout = timeout

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON answer of a GET.

        Raises:
            DaemonError: Nobody answers, or the answer is an error.
        """
        return self._ask("GET", path, None)

    def post(self, path: str, document: Any = None) -> dict[str, Any]:
        """Send a JSON document and return the JSON answer.

        Raises:
            DaemonError: Nobody answers, or the answer is an error.
        """
        return self._ask("POST", path, {} if document is None else document)

    def signin(self) -> dict[str, Any]:
        """Return ``{"code", "url", "expires_at"}`` of a new address that signs a browser in, once.

        Raises:
            DaemonError: Nobody answers.
        """
        return self.post("/api/local/signin-code")

    def _ask(self, method: str, path: str, document: Any) -> dict[str, Any]:
        connection = _UnixConnection(connect(self.path, self.timeout))
        headers = {"Accept": "application/json"}
        body = None
        if method != "GET":
            headers["Content-Type"] = "application/json"
            body = json.dumps(document).encode()
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise not_running(self.path, error) from error
        finally:
            connection.close()
        return self._answer(response.status, content)

    def _answer(self, status: int, content: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise DaemonError(
                "the server's answer is not JSON", why=f"status {status}", place=str(self.path)
            ) from error
        if status < 400 and isinstance(answer, dict):
            return answer
        found = answer.get("error") if isinstance(answer, dict) else None
        fields: dict[str, Any] = found if isinstance(found, dict) else {}
        raise DaemonError(
            str(fields.get("what") or f"the server answered with status {status}"),
            why=str(fields.get("why") or ""),
            hint=str(fields.get("hint") or ""),
            place=str(fields.get("place") or ""),
        )


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a socket that is connected already."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__("localhost")
        self.sock = connection

    def connect(self) -> None:
        """Keep the one connection there is: this class never opens another."""
        raise ConnectionResetError("the server closed the connection")
