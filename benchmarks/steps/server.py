"""`headrace serve` with its loop under watch: `GET /steps` gives what was seen since the last time.

python -m benchmarks.steps.server [OPTIONS of headrace serve]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks.steps.watch import Watch
from headrace.cli import main
from headrace.cli import server as command


def watched(create: Callable[..., Any]) -> Callable[..., Any]:
    """The same maker of an application, which beats from its start on."""
    watch = Watch()

    def made(*arguments: Any, **named: Any) -> Any:
        application = create(*arguments, **named)

        async def serve(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                watch.start()
            elif scope["path"] == "/steps":
                body = msgspec.json.encode(watch.taken())
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": body})
                return
            await application(scope, receive, send)

        return serve

    return made


if __name__ == "__main__":
    command.create_app = watched(command.create_app)
    sys.argv = ["headrace", "serve", *sys.argv[1:]]
    sys.exit(main())
