"""The cache of answers: a file that keeps every answer, which a rerun does not pay for again.

1. An answer is a line of JSON, unchecked: {"model": …, "prompt": version, "word": …, "answer": […]}.
2. A word that a reply leaves out has the answer null: an attempt that was paid for.
3. A word that the endpoint refuses has "refused": reason, in place of an answer. Refusals are written after the first
   answer to any word: an endpoint that refuses every word may be configured wrongly.
4. Lines are only appended. A batch is one write, which is synced to disk. A kill can tear the last line; the reader skips
   and counts it, and the next answer starts a new line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prealign.durable import sync
from prealign.errors import LexiconError
from prealign.files import plain_bytes


class Cache:
    """The answers of one model to one version of the prompt; LexiconError if the file cannot be read or written.

    ask_again: ignore refusals and null answers. refused: word -> reason. unreadable: number of lines that hold no answer,
    such as a torn one.
    """

    def __init__(self, path: Path, model: str, prompt: str, *, ask_again: bool = False) -> None:
        self.path, self._key, self._ask_again = path, {"model": model, "prompt": prompt}, ask_again
        self._answers: dict[str, list[list[Any] | None]] = {}
        self.refused: dict[str, str] = {}
        self._unwritten: list[dict[str, Any]] = []
        self.unreadable = 0
        try:
            content = plain_bytes(path) if path.exists() else b""
        except OSError as error:
            raise self._unusable(error) from None
        self._torn = bool(content) and not content.endswith(b"\n")
        for line in content.splitlines():
            self._read(line)

    @property
    def model(self) -> str:
        """The model that gives the answers."""
        return self._key["model"]

    def _unusable(self, error: OSError) -> LexiconError:
        return LexiconError(f"{self.path}: cannot keep answers there ({error.strerror}); name another --cache")

    def make(self) -> None:
        """Create the file, before the first request. LexiconError if that fails."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.open("ab").close()
            sync(self.path.parent)
        except OSError as error:
            raise self._unusable(error) from None

    def _read(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            if all(record[key] == value for key, value in self._key.items()):
                word, why = record["word"], record.get("refused")
                answer = record["answer"] if why is None else None
                if answer is not None or not self._ask_again:
                    self._note(word, None if answer is None else list(answer), why)
        except (ValueError, RecursionError, KeyError, TypeError):
            self.unreadable += bool(line.strip())

    def _note(self, word: str, answer: list[Any] | None, why: str | None = None) -> None:
        if why is not None:
            self.refused[word] = why
        else:
            self.refused.pop(word, None)
            self._answers.setdefault(word, []).append(answer)

    def __getitem__(self, word: str) -> list[list[Any]]:
        """Return the answers to a word, the oldest first."""
        return [answer for answer in self._answers.get(word, []) if answer is not None]

    def attempts(self, word: str) -> int:
        """Return the number of replies to requests for a word, those that left it out included."""
        return len(self._answers.get(word, []))

    def add(self, answers: Mapping[str, list[Any] | None]) -> None:
        """Append the answers of a batch, None for a word that the reply leaves out. LexiconError if the disk is full."""
        self._write([{"word": word, "answer": answer} for word, answer in answers.items()])
        for word, answer in answers.items():
            self._note(word, answer)

    def refuse(self, word: str, why: str, *, answering: bool) -> None:
        """Keep the reason of a refusal. answering: the endpoint answers other words. LexiconError as for `add`."""
        self._note(word, None, why)
        self._unwritten.append({"word": word, "refused": why})
        if answering:
            self._write([])

    def _write(self, records: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps({**self._key, **record}) + "\n" for record in [*self._unwritten, *records])
        try:
            with self.path.open("ab") as file:
                file.write(("\n" * self._torn + lines).encode())
            sync(self.path)
        except OSError as error:
            self._torn = True  # the file may hold a part of the lines
            raise LexiconError(
                f"{self.path}: cannot write the answers of a batch there ({error.strerror}). Make room, then run this "
                "again: the answers written before are kept"
            ) from None
        self._torn = False
        self._unwritten.clear()
