"""The test bed's own HTTP paths under ``/_hut/``: what a test may ask or force.

A module that has a hook registers a function of the request's body with `hook`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

Hook = Callable[[dict[str, Any]], Any]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]

_hooks: dict[tuple[str, str], Hook] = {}


def hook(method: str, path: str) -> Callable[[Hook], Hook]:
    """Register a function for a method and a path below ``/_hut/``."""

    def register(function: Hook) -> Hook:
        _hooks[method, path] = function
        return function

    return register


def install(app: Any, on_reset: list[Callable[[], None]]) -> None:
    """Answer ``/_hut/`` before the emulator sees a request; forget more when it is reset."""
    inner: Asgi = app.app
    reset_emulator = app._reset_all_state

    def reset_all() -> None:
        for forget in on_reset:
            forget()
        reset_emulator()

    app._reset_all_state = reset_all

    @hook("POST", "reset")
    def reset(_: dict[str, Any]) -> dict[str, Any]:
        reset_all()
        return {}

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/_hut/"):
            await _answer(scope, receive, send)
        else:
            await inner(scope, receive, send)

    app.app = outer


@hook("GET", "health")
def _health(_: dict[str, Any]) -> dict[str, Any]:
    return {"pid": os.getpid()}


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    function = _hooks.get((scope["method"], scope["path"].removeprefix("/_hut/")))
    if function is None:
        status, document = 404, {"error": f"there is no hook {scope['method']} {scope['path']}"}
    else:
        try:
            # Not on the loop: what a hook does may call the emulator again.
            status, document = 200, await asyncio.to_thread(function, json.loads(body or b"{}"))
        except (KeyError, ValueError, TypeError) as error:
            status, document = 400, {"error": f"{type(error).__name__}: {error}"}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})
