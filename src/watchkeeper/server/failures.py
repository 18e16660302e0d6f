"""Every error of the HTTP API in its one JSON shape, with a fitting status."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, ValidationException

from watchkeeper.errors import UsageError, WatchkeeperError

log = logging.getLogger("watchkeeper.server")

STATUS_BY_CODE = {
    "usage": 400,
    "sign_in": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "unsupported_media_type": 415,
    "config": 500,
    "format": 500,
    "locked": 503,
    "daemon": 503,
}
"""HTTP status of each error code; 500 for any other."""
CODE_BY_STATUS = {status: code for code, status in STATUS_BY_CODE.items() if status < 500}


class ErrorFields(msgspec.Struct, omit_defaults=True):
    """What went wrong, why, what to do next, and where."""

    code: str
    what: str
    why: str = ""
    hint: str = ""
    place: str = ""


class ErrorBody(msgspec.Struct):
    """The body of every answer that is not a success."""

    error: ErrorFields


class SignInNeededError(WatchkeeperError):
    """The caller has shown neither cookie nor token, or not a valid one."""

    code = "sign_in"


class ForbiddenError(WatchkeeperError):
    """The caller may not do this, whoever it is."""

    code = "forbidden"


class MediaTypeError(WatchkeeperError):
    """A body of a kind that is not taken."""

    code = "unsupported_media_type"


class TooLargeError(WatchkeeperError):
    """A body beyond the limit."""

    code = "too_large"


def status_of(error: WatchkeeperError) -> int:
    """Return the HTTP status for an error."""
    return STATUS_BY_CODE.get(error.code, 500)


def encode_error(error: WatchkeeperError) -> bytes:
    """Return an error's JSON body."""
    return msgspec.json.encode(error.to_json())


def error_response(error: WatchkeeperError) -> Response[bytes]:
    """Return an error as a response."""
    return Response(content=encode_error(error), status_code=status_of(error), media_type=MediaType.JSON)


def from_watchkeeper(_request: Request[Any, Any, Any], error: WatchkeeperError) -> Response[bytes]:
    """Answer with an error that was raised on purpose."""
    if status_of(error) == 500:
        log.error("%s", error)
    return error_response(error)


def from_framework(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer with an error that the framework found: no such route, method, parameter."""
    path = request.url.path
    if isinstance(error, ValidationException):
        answer = error_response(_validation(error))
    else:
        body = ErrorFields(
            code=CODE_BY_STATUS.get(error.status_code, "error"),
            what=HTTPStatus(error.status_code).phrase.lower(),
            place=path,
        )
        answer = Response(
            content=msgspec.json.encode(ErrorBody(body)),
            status_code=error.status_code,
            media_type=MediaType.JSON,
        )
    for name, value in (error.headers or {}).items():
        answer.set_header(name, value)
    return answer


def from_defect(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer for a defect of ours: the cause goes to the log, never to the caller."""
    log.error("answering %s failed", request.url.path, exc_info=error)
    return error_response(
        WatchkeeperError(
            "the server could not answer", hint="See daemon.log for the cause.", place=request.url.path
        )
    )


def _validation(error: ValidationException) -> UsageError:
    first = next(iter(error.extra), None) if isinstance(error.extra, list) else None
    fields = first if isinstance(first, dict) else {}
    return UsageError(
        "a parameter cannot be used",
        why=str(fields.get("message") or error.detail),
        hint="See /openapi.json for what is taken.",
        place=str(fields.get("key") or ""),
    )
