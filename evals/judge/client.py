"""Ask a model behind an OpenAI-compatible endpoint, and never take a failure for an answer.

Temperature is 0. What may pass by itself (no connection, too slow, too busy, a reply of another shape or without a
verdict) is tried again after a growing pause, and in the end counted as a failure of the judge, not as a bad score.
What will not pass (a wrong key, an unknown model) ends scoring at once.
"""

import json
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any

from evals.errors import RunError, TaskError
from evals.outside import parse_json
from evals.spec import JudgeSpec

BUSY = frozenset({408, 409, 425, 429})
FIRST_SERVER_ERROR = 500
LONGEST_PAUSE_SECONDS = 60.0
MAX_REPLY_BYTES = 2**24
PIECE_BYTES = 2**16
SHORTEST_KEY = 6
"""Characters; a shorter one is a stand-in, such as `none`, and may stand in any text."""
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One question to the judge and what came of it."""

    prompt: str
    reply: str | None
    """The judge's whole last reply; none where there was none."""
    verdict: str | None
    """What was read from the reply; none where the judge failed."""
    attempts: int
    error: str | None
    """The last failure, where no attempt gave a verdict."""

    def recorded(self) -> dict[str, object]:
        """As it stands in a sample file."""
        return asdict(self)


class _AttemptError(Exception):
    """An attempt that may do better when repeated."""

    def __init__(self, reason: str, *, reply: str | None = None, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.reply = reply
        self.pause = pause


class _StayHere(urllib.request.HTTPRedirectHandler):
    """The key is for this endpoint: urllib would show it to whomever it is sent on to."""

    def redirect_request(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - whatever it is, it is not looked at
        """Follow nobody."""


OPENER = urllib.request.build_opener(_StayHere)


class Judge:
    """A judge at its endpoint."""

    def __init__(self, spec: JudgeSpec) -> None:
        self.spec = spec
        self._key = _key(spec)

    def ask(self, prompt: str, pattern: re.Pattern[str]) -> Verdict:
        """Ask for a verdict, the last match of `pattern` in the reply. Raises RunError where asking is pointless."""
        reply, reason = None, ""
        for attempt in range(1, self.spec.attempts + 1):
            try:
                reply = self._complete(prompt)
                return Verdict(prompt, self._shown(reply), _find(pattern, reply), attempt, None)
            except _AttemptError as failure:
                reply, reason = failure.reply or reply, str(failure)
                if attempt < self.spec.attempts:
                    pause = max(self.spec.pause_seconds * 2 ** (attempt - 1), failure.pause)
                    time.sleep(min(pause, LONGEST_PAUSE_SECONDS))
        return Verdict(prompt, self._shown(reply), None, self.spec.attempts, self._shown(reason))

    def _shown(self, text: str | None) -> str | None:
        """What may be recorded of a reply: an endpoint may say the key that it was shown."""
        key = self._key or ""
        return text.replace(key, HIDDEN) if text and len(key) >= SHORTEST_KEY else text

    def _complete(self, prompt: str) -> str:
        body = {"model": self.spec.model, "messages": [{"role": "user", "content": prompt}], "temperature": 0}
        request = urllib.request.Request(  # noqa: S310 - JudgeSpec takes http and https alone
            self.spec.base_url.rstrip("/") + "/chat/completions",
            data=json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                **({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            },
        )
        try:
            with OPENER.open(request, timeout=self.spec.timeout_seconds) as response:
                answer = _read(response, self.spec.timeout_seconds)
        except urllib.error.HTTPError as error:
            raise self._http_failure(error) from error
        except (OSError, HTTPException, ValueError) as error:
            raise _AttemptError(f"{type(error).__name__}: {error}") from error
        return _content(answer)

    def _http_failure(self, error: urllib.error.HTTPError) -> Exception:
        if error.code in BUSY or error.code >= FIRST_SERVER_ERROR:
            after = error.headers.get("Retry-After", "")
            return _AttemptError(f"HTTP {error.code}", pause=float(after) if after.isdecimal() else 0.0)
        return RunError(
            f"judge {self.spec.model!r} at {self.spec.base_url}: HTTP {error.code} {self._shown(error.reason)}. Check "
            "the address, the model's name and the key."
        )


def _key(spec: JudgeSpec) -> str | None:
    if spec.api_key_env is None:
        return None
    # The one secret there is: it must not pass through a study file, a config or a record on its way here.
    # Read from a file, it often ends with the file's last line break.
    key = os.environ.get(spec.api_key_env, "").strip()
    if not key:
        raise TaskError(f"judge: the environment variable {spec.api_key_env} is not set. Set it to the endpoint's key.")
    if not (key.isascii() and key.isprintable()):
        # The library that refuses it says what it is.
        raise TaskError(f"judge: {spec.api_key_env} holds characters that no key has. Set it to the endpoint's key.")
    return key


def _read(response: HTTPResponse, seconds: float) -> object:
    """A reply of bounded size that is here in time: the socket alone would wait for each of its bytes anew."""
    content, until = b"", time.monotonic() + seconds
    while piece := response.read1(PIECE_BYTES):
        content += piece
        if len(content) > MAX_REPLY_BYTES:
            raise ValueError(f"a reply of more than {MAX_REPLY_BYTES // 2**20} MiB")
        if time.monotonic() > until:
            raise TimeoutError(f"no whole reply within {seconds:g} seconds")
    return parse_json(content)


def _content(answer: object) -> str:
    try:
        content = answer["choices"][0]["message"]["content"]  # type: ignore[index]
    except (KeyError, IndexError, TypeError) as error:
        raise _AttemptError(f"no chat completion: {str(answer)[:200]}") from error
    if not isinstance(content, str):
        raise _AttemptError(f"no text in the reply: {str(answer)[:200]}")
    return content


def _find(pattern: re.Pattern[str], reply: str) -> str:
    found = pattern.findall(reply)
    if not found:
        raise _AttemptError("no verdict in the reply", reply=reply)
    return str(found[-1])
