"""An OpenAI-compatible endpoint: its address and key, one conversation at a time, and its refusals.

1. The key comes from the environment (OPENAI_API_KEY). The key, and a password or query of the address, are masked in all
   text of the server: they get neither into messages nor into files. In replies a key that looks like a word stays.
2. `Endpoint.ask` sends a conversation and returns the reply; None if all tries fail. The openai client retries and waits.
3. A refusal of this conversation alone (too long, forbidden by a filter) is `Refused`. Any other refusal, such as a wrong
   key, is a LexiconError with the server's words.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

from prealign.errors import LexiconError, needed
from prealign.lexicon.llm.prompt import Messages

KEY, ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"
OPENAI = "https://api.openai.com/v1"
SHORTEST_SECRET = 4
"""Characters. Shorter keys and passwords are not masked: they are parts of common words."""
LONGEST_WORD = 15
"""Letters."""

_OF_ONE_REQUEST = (400, 413, 422)


class Refused(Exception):
    """The endpoint refuses this conversation; others may be accepted. `told`: the server's words, on one line."""

    def __init__(self, status: int, told: str) -> None:
        super().__init__(f"status {status}: {told}")
        self.status, self.told = status, told


@dataclass(frozen=True)
class Reply:
    """The model's text, and its cost in tokens (0 if the server does not say)."""

    text: str
    prompt_tokens: int
    reply_tokens: int


class Endpoint:
    """A model at an address; LexiconError if the openai client or the key is missing, or the address is no URL.

    address: None for OPENAI_BASE_URL, or OpenAI's; only OpenAI's needs a key. timeout: seconds of one try.
    """

    def __init__(
        self, model: str, address: str | None = None, *, timeout: float = 60, temperature: float | None = None
    ) -> None:
        self.model, self._timeout = model, timeout
        self._library = needed(
            "prealign.lexicon.llm.client", doing="asking a language model", package="openai", extra="llm"
        )
        address = address or os.environ.get(ADDRESS)
        key = os.environ.get(KEY)
        if not (key or address):
            raise LexiconError(
                f"the environment has no {KEY}. Set it to your key (`export {KEY}=…`), or name another --endpoint, such as "
                "http://localhost:8000/v1"
            )
        self._key, self._url = key or "none", address or OPENAI
        self.address, self._secrets = _public(self._url), _secrets(key, self._url)
        self._settings = {} if temperature is None else {"temperature": temperature}

    @asynccontextmanager
    async def connected(self, retries: int, per_minute: float) -> AsyncIterator[None]:
        """Open the connections that `ask` uses. retries: further tries of a conversation that gets no reply."""
        limits = {"timeout": self._timeout, "retries": retries, "per_minute": per_minute}
        async with self._library.connect(self._key, self._url, **limits) as self._client:
            yield

    async def ask(self, messages: Messages, on_failure: Callable[[str], None]) -> Reply | None:
        """Send a conversation; None if no try gets a reply. on_failure takes the reason of each failed try.

        Refused if other conversations may get a reply, LexiconError if none will.
        """
        self._library.FAILED.set(on_failure)
        try:
            found = await self._client.chat.completions.create(model=self.model, messages=messages, **self._settings)
        except self._library.openai.APIConnectionError:
            return None
        except self._library.openai.APIStatusError as error:
            if error.response.headers[self._library.RETRY] == "true":
                return None
            raise self._refusal(error) from None
        usage, text = found.usage, found.choices[0].message.content or ""
        tokens = (usage.prompt_tokens or 0, usage.completion_tokens or 0) if usage else (0, 0)
        return Reply(_masked(text, [secret for secret in self._secrets if not _is_word(secret)]), *tokens)

    def _refusal(self, error: Any) -> Exception:
        status, told = error.status_code, " ".join(_masked(str(error.message), self._secrets).split())[:300]
        if status in _OF_ONE_REQUEST:
            return Refused(status, told)
        if 300 <= status < 400:
            location = urljoin(self._url, error.response.headers.get("location", ""))
            moved = _masked(location, self._secrets)[:300]
            return LexiconError(
                f"{self.address}: the endpoint redirects to {moved} (status {status}). If you trust that address, give it "
                "as --endpoint"
            )
        return LexiconError(
            f"{self.address}: the endpoint refuses the model `{self.model}` with status {status}: "
            f"{told}. Check --model, --endpoint and {KEY}"
        )


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _is_word(secret: str) -> bool:
    """Whether a secret looks like a word to translate, as keys of local servers do (`local`, `ollama`, `EMPTY`)."""
    cases = (secret.lower(), secret.upper(), secret.capitalize())
    return secret.isalpha() and len(secret) <= LONGEST_WORD and secret in cases


def _public(url: str) -> str:
    """Return an address without user, password and query; LexiconError if it is no HTTP address."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    except ValueError:
        pass
    raise LexiconError("the --endpoint is no HTTP address; give one such as http://localhost:8000/v1")


def _secrets(key: str | None, url: str) -> list[str]:
    """Return the secrets of a key and an address, in every form that a server may repeat, the longest first."""
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    plain = unquote(login)
    found = {key or "", login, plain, b64encode(plain.encode()).decode() if plain else ""}
    found |= {part for text in (login, plain) for part in (text.partition(":")[2] or text,)}
    found |= {value for _, value in parse_qsl(parts.query)} | {parts.query}
    return sorted((secret for secret in found if len(secret) >= SHORTEST_SECRET), key=len, reverse=True)
