"""The WebSocket of the live stream."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any

import msgspec
from litestar import WebSocket, websocket
from litestar.datastructures import State
from litestar.exceptions import WebSocketDisconnect
from litestar.params import QueryParameter

from watchkeeper.errors import UsageError, WatchkeeperError
from watchkeeper.queries import models
from watchkeeper.server.live import Subscriber
from watchkeeper.server.service import Service


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What a browser may say: which session it wants to watch; ``null`` for none."""

    subscribe: str | None


@websocket("/api/live")
async def live(
    socket: WebSocket[Any, Any, State],
    state: State,
    session: Annotated[str | None, QueryParameter(max_length=200)] = None,
) -> None:
    """Send `LiveMessage` documents, the first of them a ``hello``, until the browser leaves."""
    service: Service = state.service
    await socket.accept()
    subscriber = await service.hub.join(session or None)
    sending = asyncio.create_task(_send(socket, service, subscriber))
    try:
        while not sending.done():
            receiving = asyncio.create_task(socket.receive_data(mode="text"))
            await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                receiving.cancel()
                break
            await _take_wish(receiving.result(), service, subscriber)
    except WebSocketDisconnect:
        pass
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect):
            await sending
        await service.hub.leave(subscriber)


async def _send(socket: WebSocket[Any, Any, State], service: Service, subscriber: Subscriber) -> None:
    while True:
        try:
            text = await subscriber.next_message(service.answers.hello)
        except WatchkeeperError as error:
            await socket.send_data(_error(error), mode="text")
            await socket.close(code=1011)
            return
        await socket.send_data(text, mode="text")


async def _take_wish(text: str | bytes, service: Service, subscriber: Subscriber) -> None:
    try:
        wish = msgspec.json.decode(text, type=Wish)
    except msgspec.MsgspecError as error:
        refusal = UsageError(
            "the message is not understood", why=str(error), hint='Send {"subscribe":"<session>"}.'
        )
        subscriber.offer(_error(refusal))
        return
    await service.hub.watch(subscriber, wish.subscribe)
    # Empty, and yet it tells something: whatever changes from here on is sent.
    ready = models.LiveMessage(type="items", session_id=wish.subscribe)
    subscriber.offer(msgspec.json.encode(ready).decode())


def _error(error: WatchkeeperError) -> str:
    return msgspec.json.encode(models.LiveMessage(type="error", error=error.to_json()["error"])).decode()
