"""One request to an OpenAI-compatible endpoint, and when the next one may be sent.

1. `Endpoint.ask` sends a conversation and returns the reply. What another try may mend (timeouts, dropped connections, too
   many requests, errors of the server, replies that are no completion) is `Unavailable`. What may be wrong with this
   conversation alone (too long, not allowed by a filter) is `Refused`. The rest, such as a wrong key, is a LexiconError
   with the server's words. The package's own retries are off: ours are counted and shown.
2. `Pace` gives every request, of whatever thread and retries too, its turn: evenly so many a minute.
3. `backoff` waits twice as long after each failure, up to a minute, of which up to half is left to chance so that
   threads do not come back together.

The key comes from the environment (OPENAI_API_KEY) and is not written anywhere.
"""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import dataclass
from typing import Any

from prealign.errors import LexiconError, needed
from prealign.lexicon.llm.prompt import Messages

KEY, ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"
LONGEST_WAIT = 60.0
_MENDABLE = (408, 409, 425, 429)
_OF_ONE_REQUEST = (400, 413, 422)


class Unavailable(Exception):
    """No reply, but another try may bring one; `wait`: seconds that the server asks for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Refused(Exception):
    """The endpoint does not want this conversation; others may be welcome. `told`: the server's words, on one line."""

    def __init__(self, status: int, told: str) -> None:
        super().__init__(f"status {status}: {told}")
        self.status, self.told = status, told


@dataclass(frozen=True)
class Reply:
    """What the model said, and what it cost in tokens (0 if the server does not say)."""

    text: str
    prompt_tokens: int
    reply_tokens: int


class Endpoint:
    """A model at an address; LexiconError if the client is not installed, or the key is missing.

    address: None: that of OPENAI_BASE_URL, or OpenAI's; only there a key is needed. timeout: seconds a request may take.
    """

    def __init__(
        self, model: str, address: str | None = None, *, timeout: float = 60, temperature: float | None = None
    ) -> None:
        self.model = model
        self._openai = needed("openai", doing="asking a language model", package="openai", extra="llm")
        address = address or os.environ.get(ADDRESS)
        key = os.environ.get(KEY) or ("none" if address else None)
        if key is None:
            raise LexiconError(
                f"the environment has no {KEY}. Set it to your key (`export {KEY}=…`), or name another --endpoint, such as "
                "http://localhost:8000/v1"
            )
        self._client = self._openai.OpenAI(api_key=key, base_url=address, timeout=timeout, max_retries=0)
        self._settings = {} if temperature is None else {"temperature": temperature}
        self.address = str(self._client.base_url)

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    def ask(self, messages: Messages) -> Reply:
        """Send a conversation. Unavailable if another try may help, Refused if other words may, LexiconError if neither."""
        openai = self._openai
        try:
            found = self._client.chat.completions.create(model=self.model, messages=messages, **self._settings)
            usage = found.usage
            text = found.choices[0].message.content
            tokens = (usage.prompt_tokens or 0, usage.completion_tokens or 0) if usage else (0, 0)
            if not isinstance(text, str | None) or not all(isinstance(number, int) for number in tokens):
                raise TypeError
            return Reply(text or "", *tokens)
        except openai.APITimeoutError:
            raise Unavailable("requests that took too long") from None
        except openai.APIConnectionError:
            raise Unavailable("connections that failed or were dropped") from None
        except openai.APIStatusError as error:
            raise self._refused(error) from None
        except (openai.APIError, ValueError, RecursionError, AttributeError, TypeError, IndexError):
            raise Unavailable("replies that are no chat completion") from None

    def _refused(self, error: Any) -> Exception:
        status = error.status_code
        # Too many requests is also what an empty account gets; waiting does not fill it.
        unpaid = error.code == "insufficient_quota"
        if (status in _MENDABLE or status >= 500) and not unpaid:
            asked = error.response.headers.get("retry-after", "")
            wait = float(asked) if asked.replace(".", "", 1).isdecimal() else None
            return Unavailable(f"replies with status {status}", wait)
        told = " ".join(str(error.message)[:300].split())
        if status in _OF_ONE_REQUEST and not unpaid:
            return Refused(status, told)
        return LexiconError(
            f"{self.address}: the endpoint refuses the model `{self.model}` with status {status}: "
            f"{told}. Check --model, --endpoint and {KEY}"
        )


def backoff(attempt: int, asked: float | None, first: float) -> float:
    """Return the seconds to wait after failure number `attempt` (from 0); `asked` by the server is obeyed, up to a limit."""
    if asked is not None:
        return min(asked, LONGEST_WAIT)
    return min(first * 2.0**attempt, LONGEST_WAIT) * (1 - random.random() / 2)


class Pace:
    """Turns for requests, evenly so many a minute; LexiconError if that is not above 0."""

    def __init__(self, per_minute: float) -> None:
        if not per_minute > 0:
            raise LexiconError(f"{per_minute} requests a minute are none; give a number above 0")
        self._between = 60 / per_minute
        self._next = 0.0
        self._lock = threading.Lock()

    def turn(self) -> float:
        """Take the next turn and return the seconds until it comes."""
        with self._lock:
            now = time.monotonic()
            mine = max(now, self._next)
            self._next = mine + self._between
            return mine - now
