"""A small OpenAI-compatible server on the loopback interface, which answers, or fails, as a test tells it."""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[[int, list[str]], Any]
"""(number of the request from 0, words asked) -> what to do: see `ChatServer`."""


class ChatServer(ThreadingHTTPServer):
    """What a script returns is done: a text or object is the reply's content; an integer a status; ("wait", seconds, then);
    "drop" closes the connection; ("raw", body) is the whole body; ("headers", status, headers, body); ("packed", body) is
    sent with gzip; ("endless", status, part, seconds) sends the part again and again, so many seconds apart.
    """

    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.asked: list[list[str]] = []
        self.times: list[float] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.endless_bytes = 0
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = json.loads(body["messages"][-1]["content"])
        with self.server.lock:
            number = len(self.server.asked)
            self.server.asked.append(words)
            self.server.times.append(time.monotonic())
            self.server.bodies.append(body)
            self.server.keys.append(self.headers.get("Authorization"))
            self.server.under_way += 1
            self.server.most_under_way = max(self.server.most_under_way, self.server.under_way)
        try:
            self._do(self.server.script(number, words))
        finally:
            with self.server.lock:
                self.server.under_way -= 1

    def _do(self, what: Any) -> None:
        match what:
            case "drop":
                self.connection.close()
            case ("wait", seconds, then):
                time.sleep(seconds)
                self._do(then)
            case ("raw", body):
                self._send(200, {}, body)
            case ("headers", status, headers, body):
                self._send(status, headers, json.dumps(body))
            case ("packed", body):
                self._send(200, {"content-encoding": "gzip"}, gzip.compress(body))
            case ("endless", status, part, seconds):
                self.send_response(status)
                self.end_headers()
                with suppress(OSError):  # until the client hangs up
                    while True:
                        self.server.endless_bytes += self.wfile.write(part)
                        time.sleep(seconds)
            case int(status):
                self._send(status, {"retry-after": "0.01"}, '{"error": {"message": "as told", "code": null}}')
            case content:
                text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
                message = {"role": "assistant", "content": text}
                usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
                choices = [{"index": 0, "finish_reason": "stop", "message": message}]
                reply = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": choices}
                self._send(200, {}, json.dumps({**reply, "usage": usage}))

    def _send(self, status: int, headers: dict[str, str], body: str | bytes) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(script: Script) -> Iterator[ChatServer]:
    """Run a server in a thread while the block runs."""
    os.environ.setdefault("NO_PROXY", "127.0.0.1")  # the client would ask a proxy for it
    server = ChatServer(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
