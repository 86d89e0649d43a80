"""What a server is told: `serve.toml`, or the command line."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tongwen.checkpoint.derived import Derived
from tongwen.errors import ConfigError

Weights = Literal["auto", "file", "float32", "bf16", "int8", "int4"]

DEFAULT_PORT = 8000


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """A model under the names that callers write."""

    model: str
    """A name of the store, a hub id, a directory or a `.gguf` file."""

    aliases: tuple[str, ...] = ()
    """What callers call it; empty: `model`.  The first is the one that answers carry."""

    weights: Weights = "auto"
    """See `plan_weights`."""

    context: int | None = None
    """Most tokens of a prompt and its completion; `None`: as `LLM`."""

    generation: Literal["checkpoint", "none"] = "checkpoint"
    """Sampling defaults: what the checkpoint recommends, or none (temperature 1, no penalty)."""

    draft: str | None = None
    """A smaller model that guesses for it."""

    keep_alive_s: float | None = None
    """Seconds in memory after its last use; negative: for ever; `None`: as the server's."""

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise ConfigError("`model` is empty")
        if any(not alias.strip() for alias in self.aliases):
            raise ConfigError(f"an alias of `{self.model}` is empty")

    @property
    def names(self) -> tuple[str, ...]:
        """What callers may write, the name of answers first."""
        return self.aliases or (self.model,)

    @property
    def loads(self) -> tuple[object, ...]:
        """What is brought into memory for it; entries that agree in this can share it."""
        return (self.model, self.weights, self.context, self.generation, self.draft)


@dataclass(frozen=True, kw_only=True, slots=True)
class DerivedEntry(ModelEntry):
    """A model that uses the weights of another; see `checkpoint/derived.py`."""

    derived: Derived
    """What it adds to them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyEntry:
    """Somebody who may ask.  The key itself is written nowhere but in the environment."""

    name: str
    """Who it is, in logs and metrics."""

    sha256: str | None = None
    """SHA-256 of the key, in hexadecimal: `printf %s KEY | sha256sum`."""

    env: str | None = None
    """The environment variable that holds the key, in place of `sha256`."""

    admin: bool = False
    """Whether it may pull, create, copy and delete models from elsewhere."""

    requests_per_minute: int | None = None
    """More are refused for the rest of the minute; `None`: any number."""

    tokens_per_day: int | None = None
    """Prompt and completion tokens; more are refused for the rest of the day (UTC)."""

    def __post_init__(self) -> None:
        if (self.sha256 is None) == (self.env is None):
            raise ConfigError(f"key `{self.name}` needs one of `sha256` and `env`")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
            raise ConfigError(
                f"`sha256` of key `{self.name}` is no SHA-256 in hexadecimal",
                hint="printf %s KEY | sha256sum",
            )
        for limit in ("requests_per_minute", "tokens_per_day"):
            value = getattr(self, limit)
            if value is not None and value < 1:
                raise ConfigError(f"`{limit}` of key `{self.name}` must be at least 1, not {value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much a request may ask, and how long it may take."""

    body_bytes: int = 32 << 20
    """A larger body is refused (413)."""

    blob_bytes: int = 128 << 30
    """The same for the files of models that are uploaded (`/api/blobs/`)."""

    prompt_tokens: int | None = None
    """A longer prompt is refused; `None`: as many as the context holds."""

    stored_bytes: int = 1 << 30
    """Files that one key may keep here, together (`/v1/files`); more are refused (413)."""

    stored_files: int = 1000
    """How many of them; more are refused (400)."""

    open_batches: int = 100
    """Batches of one key that have not ended (`/v1/batches`); more are refused (429)."""

    batch_rows: int = 16
    """Rows of each batch that are answered at once, after everybody who waits."""

    waiting: int = 512
    """Requests that may wait for a place in the engine; more are refused (503)."""

    request_s: float = 600.0
    """A request that takes longer is ended (503; a stream says so and ends)."""

    head_s: float = 30.0
    """A connection that has not sent the head of a request after so long is closed."""

    body_s: float = 60.0
    """A body that takes longer to arrive is refused (408); of an uploaded file each part."""

    send_s: float = 60.0
    """A reader that takes nothing for so long is given up."""

    drain_s: float = 30.0
    """After SIGTERM, running requests get so long to finish."""

    def __post_init__(self) -> None:
        for name in (
            "body_bytes",
            "stored_bytes",
            "stored_files",
            "open_batches",
            "blob_bytes",
            "batch_rows",
            "waiting",
            "request_s",
            "head_s",
            "body_s",
            "send_s",
        ):
            if getattr(self, name) <= 0:
                raise ConfigError(f"`{name}` must be above 0, not {getattr(self, name)}")
        if self.prompt_tokens is not None and self.prompt_tokens < 1:
            raise ConfigError(f"`prompt_tokens` must be at least 1, not {self.prompt_tokens}")
        if self.drain_s < 0:
            raise ConfigError(f"`drain_s` must not be negative, but is {self.drain_s}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig:
    """A server."""

    models: tuple[ModelEntry, ...] = ()
    """What is served; empty: every model of the store, loaded when it is first asked for."""

    host: str = "127.0.0.1"
    """The address that is listened on."""

    port: int = DEFAULT_PORT
    """The port; 0: any that is free."""

    keys: tuple[KeyEntry, ...] = ()
    """Who may ask; empty: everybody who reaches the port."""

    hosts: tuple[str, ...] = ()
    """Names in `Host` besides the loopback's and `host`."""

    origins: tuple[str, ...] = ()
    """Pages of other addresses that may ask from a browser, `https://example.org`; `*`: all."""

    allow_dirs: tuple[Path, ...] = ()
    """Directories whose files `FROM` may name."""

    keep_alive_s: float = 300.0
    """Seconds in memory after a model's last use; negative: for ever."""

    max_loaded: int = 3
    """Models in memory at once; the one unused for longest goes."""

    log_prompts: bool = False
    """Whether what callers write goes into the log."""

    tls_cert: Path | None = None
    """Certificate chain, PEM."""

    tls_key: Path | None = None
    """Its private key, PEM."""

    limits: Limits = field(default_factory=Limits)
    """Of every request."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"`port` must lie between 0 and 65535, not {self.port}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("`tls_cert` and `tls_key` go together")
        if self.max_loaded < 1:
            raise ConfigError(f"`max_loaded` must be at least 1, not {self.max_loaded}")
        names = [name for entry in self.models for name in entry.names]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ConfigError(f"two models are called `{min(repeated)}`")
        who = [key.name for key in self.keys]
        if repeated := {name for name in who if who.count(name) > 1}:
            raise ConfigError(f"two keys are called `{min(repeated)}`")
