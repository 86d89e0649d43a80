"""What a program under judgement may use."""

import math
from dataclasses import dataclass

from tongwen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds of one program and everything that it starts."""

    wall_s: float | int = 10
    """Seconds until it is ended, whatever it does."""

    cpu_s: int | None = None
    """Processor seconds of each process; `wall_s`, rounded up, and one more where not given."""

    memory_bytes: int = 2 << 30
    """Memory of all its processes together; looked at ten times a second."""

    address_space_bytes: int | None = 4 << 30
    """Address space of each process.  `None` for those that reserve much more than they use, as
    Java and Node do."""

    processes: int = 64
    """Processes and threads at one time."""

    open_files: int = 256
    """Open files of each process."""

    disk_bytes: int = 64 << 20
    """Size of its file system, which lies in memory, and of its largest file."""

    num_files: int = 10_000
    """Files in its file system; looked at as memory is."""

    output_bytes: int = 1 << 20
    """What it may print to each of stdout and stderr; whoever prints more is ended."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"`{name}` ({value}) must be more than nothing, and bounded")

    @property
    def rlimits(self) -> dict[str, int]:
        """The bounds that the kernel keeps for each process, by their names in `setrlimit`."""
        given = {
            "as": self.address_space_bytes,
            "core": 0,
            "cpu": self.cpu_s or math.ceil(self.wall_s) + 1,
            "fsize": self.disk_bytes,
            "memlock": 0,
            "msgqueue": 0,
            "nofile": self.open_files,
            "nproc": self.processes,
            "sigpending": 1024,
        }
        return {name: value for name, value in given.items() if value is not None}
