"""The routes of the HTTP API. Who may call them is decided in `access`, before any of them runs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.datastructures import Cookie, State
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import PathParameter, QueryParameter

from watchkeeper import __version__
from watchkeeper.errors import UsageError
from watchkeeper.queries import models
from watchkeeper.queries.periods import since_ms, until_ms
from watchkeeper.queries.search import split_query
from watchkeeper.server.access import cookie_name
from watchkeeper.server.failures import ErrorBody, MediaTypeError
from watchkeeper.server.hook_intake import BODY_LIMIT
from watchkeeper.server.metrics import MEDIA_TYPE, render_metrics
from watchkeeper.server.page import find_page_file
from watchkeeper.server.service import Service
from watchkeeper.server.signin import BROWSER_SECONDS
from watchkeeper.server.signin_page import PAGE_POLICY, signin_page
from watchkeeper.server.verdict import Verdict, verify_home

DEMO_SECONDS = 120.0
ERRORS = {
    400: ResponseSpec(ErrorBody, description="A parameter or body cannot be used.", generate_examples=False),
    401: ResponseSpec(ErrorBody, description="Neither cookie nor token.", generate_examples=False),
    403: ResponseSpec(ErrorBody, description="Another host, another page.", generate_examples=False),
}
NOT_FOUND = {404: ResponseSpec(ErrorBody, description="It is not on record.", generate_examples=False)}
RECORDER_DOWN = {503: ResponseSpec(ErrorBody, description="The recorder is down.", generate_examples=False)}

OPEN: list[dict[str, list[str]]] = [{}]
"""Security requirement of what anyone may ask for."""

Cursor = Annotated[
    str | None, QueryParameter(description="Where the page before ended: its `next`.", max_length=512)
]
Moment = Annotated[
    str | None,
    QueryParameter(description="`24h`, `7d`, a date, an RFC 3339 time, or `all`.", max_length=64),
]
PageSize = Annotated[int, QueryParameter(ge=1, le=1000, description="Rows of a page.")]
SessionId = Annotated[str, PathParameter(description="A session's id, or the beginning of it.")]
ToolUseId = Annotated[str, PathParameter(description="The id of a tool call.")]
ItemCount = Annotated[int, QueryParameter(ge=1, le=10_000, description="Items of a page.")]


class Health(msgspec.Struct):
    """Whether the server answers, and the state of the parts it knows about."""

    status: str
    version: str
    parts: dict[str, str]


class SignInCode(msgspec.Struct):
    """A one-time code that signs a browser in, and the address that holds it."""

    code: str
    url: str
    expires_at: str


@dataclass
class HookOperation(Operation):
    """The description of a route that takes a JSON object as it comes."""

    def __post_init__(self) -> None:
        """Describe the body, which the framework leaves out because it is taken as bytes."""
        event = OpenAPIMediaType(schema=Schema(type=OpenAPIType.OBJECT, description="The hook's input."))
        self.request_body = RequestBody(content={"application/json": event}, required=True)


class Done(msgspec.Struct):
    """It has been done."""

    ok: bool


def _service(state: State) -> Service:
    service: Service = state.service
    return service


def _json(body: bytes) -> Response[Any]:
    return Response(content=body, media_type=MediaType.JSON)


@get("/health", operation_id="health", tags=["operation"], security=OPEN)
async def health(state: State) -> Health:
    """Say that the server answers. Open, and names nothing of the user's."""
    return Health(status="ok", version=__version__, parts=await _service(state).answers.parts())


@get("/metrics", operation_id="metrics", tags=["operation"], media_type=MEDIA_TYPE, security=OPEN)
async def metrics(state: State) -> str:
    """Give figures in Prometheus's text format. Open, and names nothing of the user's."""
    answers = _service(state).answers
    return render_metrics(__version__, await answers.counts(), await answers.parts())


@get(
    "/auth",
    operation_id="signIn",
    tags=["access"],
    status_code=303,
    media_type=MediaType.HTML,
    security=OPEN,
    responses={
        400: ERRORS[400],
        401: ResponseSpec(
            str,
            media_type=MediaType.HTML,
            description="The code was used or is too old.",
            generate_examples=False,
        ),
    },
)
async def sign_in(
    request: Request[Any, Any, State],
    state: State,
    code: Annotated[str, QueryParameter(description="A one-time code from `wk url`.", max_length=200)] = "",
) -> Response[bytes]:
    """Take a one-time code, give the browser its cookie and send it to the page."""
    service = _service(state)
    name = cookie_name(service.port)
    cookie = service.signins.redeem(code)
    if cookie is None and not service.signins.knows(request.cookies.get(name) or ""):
        return Response(
            content=signin_page(used=True),
            status_code=401,
            media_type=MediaType.HTML,
            headers={"content-security-policy": PAGE_POLICY.decode()},
        )
    answer = Response(content=b"", status_code=303, media_type=MediaType.HTML, headers={"location": "/"})
    if cookie is not None:
        answer.set_cookie(
            Cookie(
                key=name, value=cookie, max_age=BROWSER_SECONDS, path="/", httponly=True, samesite="strict"
            )
        )
    return answer


@post(
    "/api/local/signin-code",
    operation_id="newSignInCode",
    tags=["access"],
    status_code=200,
    responses=ERRORS,
)
async def new_signin_code(state: State) -> SignInCode:
    """Make a one-time code; for this user's own processes, never for a browser."""
    service = _service(state)
    code, expires = service.signins.new_code()
    moment = datetime.fromtimestamp(expires, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return SignInCode(code=code, url=f"http://127.0.0.1:{service.port}/auth?code={code}", expires_at=moment)


@get("/api/status", operation_id="status", tags=["record"], responses=ERRORS)
async def status(state: State) -> Response[models.Status]:
    """Give the state of the parts and what is on record."""
    return _json(await _service(state).answers.status())


@get("/api/sessions", operation_id="listSessions", tags=["record"], responses=ERRORS)
async def sessions(
    state: State,
    q: Annotated[
        str | None,
        QueryParameter(description="Words that all occur; phrases in double quotes.", max_length=1000),
    ] = None,
    project: Annotated[str | None, QueryParameter(description="The project's name.", max_length=1000)] = None,
    since: Moment = None,
    until: Moment = None,
    limit: PageSize = 50,
    cursor: Cursor = None,
) -> Response[models.SessionList]:
    """List sessions, newest first."""
    now = int(time.time() * 1000)
    return _json(
        await _service(state).answers.sessions(
            words=split_query(q or ""),
            project=project or None,
            since_ms=since_ms(since, now, "since"),
            until_ms=until_ms(until, now, "until"),
            limit=limit,
            cursor=cursor or None,
        )
    )


@get(
    "/api/sessions/{session_id:str}", operation_id="getSession", tags=["record"], responses=ERRORS | NOT_FOUND
)
async def session(state: State, session_id: SessionId) -> Response[models.SessionDetail]:
    """Give one session, named by its id or the beginning of it."""
    return _json(await _service(state).answers.session(session_id))


@get(
    "/api/sessions/{session_id:str}/timeline",
    operation_id="getTimeline",
    tags=["record"],
    responses=ERRORS | NOT_FOUND,
)
async def timeline(
    state: State, session_id: SessionId, cursor: Cursor = None, limit: ItemCount = 1000
) -> Response[models.Timeline]:
    """Give a page of a session's timeline, oldest first."""
    return _json(await _service(state).answers.timeline(session_id, cursor or None, limit))


@get("/api/calls/{tool_use_id:str}", operation_id="getCall", tags=["record"], responses=ERRORS | NOT_FOUND)
async def call(state: State, tool_use_id: ToolUseId) -> Response[models.CallDetail]:
    """Give one tool call with its payloads."""
    return _json(await _service(state).answers.call(tool_use_id))


@get("/api/coverage", operation_id="getCoverage", tags=["record"], responses=ERRORS | NOT_FOUND)
async def coverage(
    state: State,
    of_session: Annotated[
        str | None, QueryParameter(name="session", description="Of one session only.")
    ] = None,
) -> Response[models.CoverageReport]:
    """Say how much of what happened is on record, by which witness, and name every gap."""
    return _json(await _service(state).answers.coverage(of_session or None))


@get("/api/verify", operation_id="verify", tags=["record"], responses=ERRORS)
async def verify(state: State) -> Verdict:
    """Check the ledger: whether it is whole and unchanged, and how far it is anchored."""
    return await verify_home(_service(state).settings)


@post(
    "/api/demo", operation_id="loadDemo", tags=["record"], status_code=200, responses=ERRORS | RECORDER_DOWN
)
async def demo(state: State) -> Done:
    """Load the packaged demo sessions."""
    await _service(state).link.ask({"op": "demo"}, DEMO_SECONDS)
    return Done(ok=True)


@post(
    "/hook",
    operation_id="hook",
    tags=["record"],
    status_code=200,
    request_max_body_size=BODY_LIMIT,
    operation_class=HookOperation,
    responses=ERRORS
    | {413: ResponseSpec(ErrorBody, description="More than 16 MiB.", generate_examples=False)},
)
async def hook(request: Request[Any, Any, State], state: State) -> dict[str, str]:
    """Record an event of an agent that can run no program; the answer `{}` means that it is stored."""
    if request.content_type[0] != MediaType.JSON:
        raise MediaTypeError("this kind of body is not taken", why=request.content_type[0], hint="Send JSON.")
    body = await request.body()
    if not body:
        raise UsageError("the event is empty", hint="Send the hook's input as it is.", place="body")
    await _service(state).hooks.take(body)
    return {}


@get("/openapi.json", include_in_schema=False)
async def openapi_document() -> Response[bytes]:
    """Give the description of this API."""
    from watchkeeper.server.openapi import document  # a large import that few ever need

    return Response(content=document(), media_type=MediaType.JSON)


@get(["/", "/{path:path}"], include_in_schema=False)
async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Give the page and its files."""
    found = await asyncio.to_thread(find_page_file, request.scope["path"])
    return Response(
        content=found.content, media_type=found.media_type, headers={"cache-control": found.cache_control}
    )


HTTP_ROUTES = [
    health,
    metrics,
    sign_in,
    new_signin_code,
    status,
    sessions,
    session,
    timeline,
    call,
    coverage,
    verify,
    demo,
    hook,
    openapi_document,
]
