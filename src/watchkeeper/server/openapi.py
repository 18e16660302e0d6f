"""The OpenAPI description; ``python -m watchkeeper.server.openapi`` writes ``schemas/openapi.json``."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Annotated

from litestar import Litestar, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Server
from litestar.params import QueryParameter

from watchkeeper import __version__
from watchkeeper.queries.models import LiveMessage
from watchkeeper.server.routes import ERRORS, HTTP_ROUTES


@get(
    "/api/live",
    operation_id="live",
    tags=["record"],
    status_code=200,
    response_description="The connection becomes a WebSocket; each text frame is such a message.",
    responses=ERRORS,
)
async def live_description(
    session: Annotated[str | None, QueryParameter(description="Watch this session from the start.")] = None,
) -> LiveMessage:
    """Stream what changes, over a WebSocket; the first message is a `hello`, also after messages were lost.

    Send `{"subscribe":"<session id>"}` to watch another session, `{"subscribe":null}` for none.
    """
    # Never routed: OpenAPI has no WebSockets, so this stands only in the description; `stream` serves the address.
    raise NotImplementedError(session)


CHECKED_IN = Path("schemas") / "openapi.json"


@functools.cache
def document() -> bytes:
    """Return the description: the same bytes for the same code."""
    app = Litestar(
        route_handlers=[*HTTP_ROUTES, live_description],
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Watchkeeper",
            version=__version__,
            description="The record of coding agents on this machine. WebSocket /api/live streams changes.",
            servers=[Server(url="http://127.0.0.1:7878")],
            use_handler_docstrings=True,
            render_plugins=[JsonRenderPlugin()],
            components=Components(
                security_schemes={
                    "token": SecurityScheme(type="http", scheme="bearer", description="From run/token."),
                    "cookie": SecurityScheme(
                        type="apiKey",
                        name="watchkeeper_7878",
                        security_scheme_in="cookie",
                        description="Set by /auth; the name ends with the port.",
                    ),
                }
            ),
            security=[{"token": []}, {"cookie": []}],
        ),
    )
    text = json.dumps(app.openapi_schema.to_schema(), indent=2, sort_keys=True, ensure_ascii=False)
    return text.encode() + b"\n"


def main() -> int:
    """Write the checked-in file of this checkout."""
    root = Path(__file__).resolve().parents[3]
    (root / CHECKED_IN).parent.mkdir(exist_ok=True)
    (root / CHECKED_IN).write_bytes(document())
    return 0


if __name__ == "__main__":
    sys.exit(main())
