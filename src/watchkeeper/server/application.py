"""The ASGI application: the routes, with the access rules around all of them."""

from __future__ import annotations

from typing import cast

from litestar import Litestar
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from watchkeeper.errors import WatchkeeperError
from watchkeeper.server.access import Access, ASGIApp
from watchkeeper.server.failures import from_defect, from_framework, from_watchkeeper
from watchkeeper.server.routes import HTTP_ROUTES, page
from watchkeeper.server.service import Service
from watchkeeper.server.stream import live

SMALL_BODY = 1 << 20
"""Bytes of a body where a route does not say otherwise."""


def build_application(service: Service) -> Access:
    """Return the application for a service."""
    app = Litestar(
        route_handlers=[*HTTP_ROUTES, live, page],
        exception_handlers={
            WatchkeeperError: from_watchkeeper,
            HTTPException: from_framework,
            Exception: from_defect,
        },
        openapi_config=None,
        logging_config=None,
        request_max_body_size=SMALL_BODY,
        state=State({"service": service}, deep_copy=False),
    )
    return Access(cast(ASGIApp, app), service.port, service.token, service.signins)
