"""The openai client, with every HTTP request paced and every reply bounded.

1. Each request, retries included, waits for its turn: at most so many a minute, evenly spaced.
2. A try ends after `timeout` seconds or LONGEST_REPLY bytes, errors included; redirects are not followed.
3. A reply that is no chat completion becomes status 502 (bad gateway). The header `x-should-retry` of each failed reply
   tells the openai client whether a retry can help. That client waits, doubling the time or as `retry-after` says.
4. Each failed try that a retry can help is reported to `FAILED`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import httpx2
import openai

LONGEST_REPLY = 4_000_000
"""Bytes, unpacked."""
FAILED: ContextVar[Callable[[str], None]] = ContextVar("FAILED")
"""Takes the reason of each failed try of the current task."""
RETRY = "x-should-retry"

_RETRIED = (408, 409, 425, 429)


class Pace:
    """Turns for requests, evenly spaced."""

    def __init__(self, per_minute: float) -> None:
        self._between, self._next = 60 / per_minute, 0.0

    def turn(self) -> float:
        """Take the next turn and return the seconds until it comes."""
        now = time.monotonic()
        mine = max(now, self._next)
        self._next = mine + self._between
        return mine - now


def connect(key: str, address: str, *, timeout: float, retries: int, per_minute: float) -> openai.AsyncOpenAI:
    """Return an openai client whose tries take turns and are bounded. timeout: seconds of one try."""
    http = _BoundedClient(Pace(per_minute), timeout)
    return openai.AsyncOpenAI(api_key=key, base_url=address, timeout=timeout, max_retries=retries, http_client=http)


class _BoundedClient(openai.DefaultAsyncHttpxClient):
    def __init__(self, pace: Pace, timeout: float) -> None:
        super().__init__(timeout=timeout, follow_redirects=False)
        self._pace, self._seconds = pace, timeout

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request at its turn and return the whole reply."""
        await asyncio.sleep(self._pace.turn())
        failed = FAILED.get()
        try:
            response, body = await asyncio.wait_for(self._read(request, {**options, "stream": True}), self._seconds)
        except (asyncio.TimeoutError, httpx2.TimeoutException):
            failed("requests that took too long")
            raise httpx2.ReadTimeout("too long", request=request) from None
        except Exception:
            failed("connections that failed or were dropped")
            raise
        status, reason = _judged(response.status_code, body)
        if reason:
            failed(reason)
        # The body is unpacked and whole.
        headers = {
            name: value for name, value in response.headers.items() if not name.startswith(("content-", "transfer-"))
        }
        headers |= {"content-type": "application/json", RETRY: "true" if reason else "false"}
        return httpx2.Response(status, headers=headers, content=body, request=request)

    async def _read(self, request: httpx2.Request, options: dict[str, Any]) -> tuple[httpx2.Response, bytes]:
        """Return a response and its body, of which at most a part is beyond LONGEST_REPLY."""
        response = await super().send(request, **options)
        body = bytearray()
        try:
            async for part in response.aiter_bytes():
                body += part
                if len(body) > LONGEST_REPLY:
                    break
        finally:
            await response.aclose()
        return response, bytes(body)


def _judged(status: int, body: bytes) -> tuple[int, str | None]:
    """Return the status that the openai client is to see, and the reason to try again (None if a retry cannot help)."""
    if len(body) > LONGEST_REPLY:
        return 502, f"replies of more than {LONGEST_REPLY:,} bytes"
    if status < 300:
        return (200, None) if _is_completion(body) else (502, "replies that are no chat completion")
    # An empty account gets "too many requests" too; waiting does not fill it.
    retried = (status in _RETRIED or status >= 500) and b'"insufficient_quota"' not in body
    return status, f"replies with status {status}" if retried else None


def _is_completion(body: bytes) -> bool:
    try:
        reply = json.loads(body)
        text = reply["choices"][0]["message"].get("content")
        usage = reply.get("usage") or {}
        tokens = [usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")]
        return isinstance(text, str | None) and all(isinstance(number, int) for number in tokens)
    except (ValueError, RecursionError, AttributeError, TypeError, LookupError):
        return False
