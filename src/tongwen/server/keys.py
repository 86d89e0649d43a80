"""Who asks: keys compared in constant time, and what each may still ask for."""

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tongwen.errors import ConfigError
from tongwen.server.config import KeyEntry
from tongwen.server.errors import ApiError


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request."""

    name: str
    """Of the key; empty where no keys are set."""

    is_admin: bool
    """Whether models may be fetched, made and deleted."""


@dataclass(slots=True)
class _Use:
    """What a key has asked for in this minute and this day."""

    minute: int = -1
    requests: int = 0
    day: int = -1
    tokens: int = 0


@dataclass(slots=True)
class _Key:
    entry: KeyEntry
    digest: bytes
    use: _Use = field(default_factory=_Use)


class Keys:
    """The keys of a server; `load` replaces them while it runs, uses are kept by name.

    Args:
        entries: Who may ask; empty: everybody.
        environ: Where keys are that an entry names by variable.
        clock: Seconds since 1970.

    Raises:
        ConfigError: A variable is not set.
    """

    def __init__(
        self,
        entries: Sequence[KeyEntry],
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._keys: list[_Key] = []
        self.load(entries, environ)

    def load(self, entries: Sequence[KeyEntry], environ: Mapping[str, str]) -> None:
        """Take these keys in place of those before.

        Raises:
            ConfigError: A variable is not set; the keys before stay.
        """
        uses = {key.entry.name: key.use for key in self._keys}
        self._keys = [
            _Key(entry, _digest_of(entry, environ), uses.get(entry.name, _Use()))
            for entry in entries
        ]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def caller(self, key: str | None, *, is_local: bool) -> Caller:
        """Who a key belongs to.

        Every key is compared, in constant time: how long this takes tells nothing.

        Args:
            key: What the request carries.
            is_local: Whether it comes from this machine.

        Raises:
            ApiError: Keys are set, and this is none of them (401).
        """
        if not self._keys:
            return Caller("", is_admin=is_local)
        digest = hashlib.sha256((key or "").encode()).digest()
        found = [one for one in self._keys if hmac.compare_digest(one.digest, digest)]
        if key is None or not found:
            said = "an API key is needed" if key is None else "the API key is not known"
            raise ApiError(
                401, said, "invalid_api_key", headers={"WWW-Authenticate": 'Bearer realm="tongwen"'}
            )
        return Caller(found[0].entry.name, is_admin=found[0].entry.admin)

    def count_request(self, caller: Caller) -> None:
        """Note a request.

        Raises:
            ApiError: The caller has none left for this minute or no tokens for this day (429).
        """
        key = self._of(caller)
        if key is None:
            return
        now = self._clock()
        use, minute, day = key.use, int(now // 60), int(now // 86_400)
        if use.minute != minute:
            use.minute, use.requests = minute, 0
        if use.day != day:
            use.day, use.tokens = day, 0
        most, tokens = key.entry.requests_per_minute, key.entry.tokens_per_day
        if most is not None and use.requests >= most:
            raise _too_many(f"{most} requests a minute", 60 - now % 60)
        if tokens is not None and use.tokens >= tokens:
            raise _too_many(f"{tokens} tokens a day ({use.tokens} used)", 86_400 - now % 86_400)
        use.requests += 1

    def count_tokens(self, caller: Caller, tokens: int) -> None:
        """Note what a request has taken."""
        if key := self._of(caller):
            key.use.tokens += tokens

    def _of(self, caller: Caller) -> _Key | None:
        return next((key for key in self._keys if key.entry.name == caller.name), None)


def _digest_of(entry: KeyEntry, environ: Mapping[str, str]) -> bytes:
    if entry.sha256 is not None:
        return bytes.fromhex(entry.sha256)
    assert entry.env is not None, "an entry has one of both"
    if not environ.get(entry.env):
        raise ConfigError(
            f"the environment variable `{entry.env}` of key `{entry.name}` is not set"
        )
    return hashlib.sha256(environ[entry.env].encode()).digest()


def _too_many(what: str, seconds: float) -> ApiError:
    wait = max(int(seconds) + 1, 1)
    return ApiError(
        429,
        f"this key may ask for {what}; retry in {wait} s",
        "rate_limit_exceeded",
        headers={"Retry-After": str(wait)},
    )
