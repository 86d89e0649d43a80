"""Every error this package raises on purpose, one class for each kind of remedy.

* TongwenError
  + ConfigError         a setting is unknown, missing or out of range     (also a ValueError)
  + RequestError        this prompt or these parameters cannot be served  (also a ValueError)
    + ContextError      more tokens than the context holds              (also a ValueError)
  + TokenizerError      a vocabulary, template or conversation is unfit   (also a ValueError)
  + CheckpointError     weights or files do not fit the model             (also a ValueError)
  + ModelNotFoundError  no model of that name is known or reachable       (also a LookupError)
  + SourceError         a hub, registry or mirror failed to deliver       (also an OSError)
  + CapacityError       memory or disk is too small for what is asked     (also a MemoryError)
  + BusyError           too much is waiting at this moment                (also a RuntimeError)
  + EngineError         the engine failed, by a fault of ours             (also a RuntimeError)
  + SandboxError        programs of a model cannot be run in isolation    (also a RuntimeError)
  + DependencyError     an optional library is missing                    (also an ImportError)
"""


class TongwenError(Exception):
    """Root of the tree above; catch it to catch everything raised on purpose.

    Args:
        message: What is wrong, with the values in it, in one line.
        hint: What to do about it, in one line, where that is known.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        return self.message


class ConfigError(TongwenError, ValueError):
    """A setting is unknown, missing or out of range."""


class RequestError(TongwenError, ValueError):
    """This prompt or these parameters cannot be served by this model."""


class ContextError(RequestError, ValueError):
    """More tokens are asked for than the context holds."""


class TokenizerError(TongwenError, ValueError):
    """A vocabulary, a chat template or a conversation is unfit for use."""


class CheckpointError(TongwenError, ValueError):
    """Weights or files do not fit the model, or are damaged."""


class ModelNotFoundError(TongwenError, LookupError):
    """No model of that name is known or reachable."""


class SourceError(TongwenError, OSError):
    """A hub, registry or mirror failed to deliver."""


class CapacityError(TongwenError, MemoryError):
    """Memory or disk is too small for what is asked."""


class BusyError(TongwenError, RuntimeError):
    """Too much is waiting at this moment; the same request may be served later."""


class EngineError(TongwenError, RuntimeError):
    """The engine failed, by a fault of ours; the log says where."""


class SandboxError(TongwenError, RuntimeError):
    """Programs that a model wrote cannot be run in isolation here; none is run without."""


class DependencyError(TongwenError, ImportError):
    """An optional library that this needs is not installed."""
