"""A service: it is started with the server, and writes down how runs end."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from flowdapt.events import RUN_FINISHED, Event
from flowdapt.services import Service

if TYPE_CHECKING:
    from flowdapt.server import Server


class RunLog(Service):
    """Writes a line of JSON for each run that ends.

    :param file: where to, in the folder with the server's files
    """

    def __init__(self, server: Server, *, file: str = "runs.jsonl", **options: Any) -> None:
        super().__init__(server, **options)
        self.file = server.settings.app_dir / file

    async def start(self) -> None:
        """Begin to listen."""
        with ExitStack() as stack:
            self._stream = stack.enter_context(self.file.open("a", encoding="utf-8"))
            listening = self.server.engine.events.listening(self._note, RUN_FINISHED)
            stack.enter_context(listening)
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Listen no more."""
        self._stack.close()

    def _note(self, event: Event) -> None:
        # In the event loop, where everybody waits meanwhile: so a line, and nothing that is slow.
        told = json.loads(event.text())
        facts = {key: told["data"].get(key) for key in ("name", "workflow", "state")}
        self._stream.write(json.dumps({"time": told["time"], **facts}) + "\n")
        self._stream.flush()
