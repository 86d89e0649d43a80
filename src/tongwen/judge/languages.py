"""The languages of MultiPL-E: how a program of each is compiled and run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tongwen.judge import host
from tongwen.judge.limits import Limits

_PAIR = "org/javatuples/Pair.java"
_LIMITS = Limits(wall_s=30.0, cpu_s=20, processes=128, disk_bytes=128 << 20)
_ROOMY = replace(_LIMITS, address_space_bytes=None)
_JVM = "-Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData"


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """One programming language.

    In commands `{name}` is where the program of that name lies.
    """

    file: str
    """Name of the file that a program is laid into."""

    needs: Mapping[str, str]
    """Programs that it takes, and how each is installed."""

    compile: str | None = None
    """Shell command that makes what is run, where there is such a step."""

    run: str
    """Shell command that runs it."""

    say: str
    """Statement that prints `{text}`."""

    closes: int = 0
    """Braces that stand open at the end of the tests, where that statement goes."""

    env: Mapping[str, str] = field(default_factory=dict)
    """What it needs in its environment."""

    extra: tuple[str, ...] = ()
    """Files of ours, below `java/`, that programs use."""

    limits: Limits = _LIMITS
    """What a program may use, compiling included."""

    @property
    def missing(self) -> str | None:
        """Why programs of it cannot be run here; `None` where they can."""
        for name, how in self.needs.items():
            if host.tool(name) is None:
                return f"no `{name}` here: {how}"
        return None

    @property
    def is_available(self) -> bool:
        """Whether programs of it can be run here."""
        return self.missing is None

    @property
    def own_files(self) -> dict[str, str]:
        """Files that are laid beside each program."""
        folder = Path(__file__).with_name("java")
        return {name: (folder / name).read_text(encoding="utf-8") for name in self.extra}


_JDK = "apt-get install default-jdk-headless"
_MONO = "apt-get install mono-mcs mono-runtime"
_NODE = "apt-get install nodejs"

LANGUAGES: dict[str, Language] = {
    "py": Language(file="main.py", needs={}, run="", say="print('{text}')"),
    "cpp": Language(
        file="main.cpp",
        needs={"g++": "apt-get install g++"},
        compile="{g++} -std=c++17 -o main main.cpp",
        run="./main",
        say='std::puts("{text}");',
        closes=1,
    ),
    "java": Language(
        file="Problem.java",
        needs={"javac": _JDK, "java": _JDK},
        compile="{javac} -J" + _JVM.replace(" ", " -J") + f" -encoding UTF8 Problem.java {_PAIR}",
        run="{java} -ea -Xss64m " + _JVM + " Problem",
        say='System.out.println("{text}");',
        closes=2,
        extra=(_PAIR,),
        limits=_ROOMY,
    ),
    "js": Language(
        file="main.js",
        needs={"node": _NODE},
        run="{node} --max-old-space-size=512 main.js",
        say='console.log("{text}");',
        limits=_ROOMY,
    ),
    "ts": Language(
        file="main.ts",
        needs={"node": _NODE, "tsc": "npm install -g typescript"},
        compile="{node} {tsc} --target es2022 --module commonjs --strict false main.ts",
        run="{node} --max-old-space-size=512 main.js",
        say='console.log("{text}");',
        limits=_ROOMY,
    ),
    "sh": Language(
        file="main.sh",
        needs={"bash": "apt-get install bash"},
        run="{bash} main.sh",
        say="echo '{text}'",
    ),
    "php": Language(
        file="main.php",
        needs={"php": "apt-get install php-cli"},
        run="{php} main.php",
        say='echo "{text}\\n";',
    ),
    "cs": Language(
        file="main.cs",
        needs={"mcs": _MONO, "mono": _MONO},
        compile="{mcs} -d:DEBUG -r:System.Numerics.dll -out:main.exe main.cs",
        run="{mono} main.exe",
        say='Console.WriteLine("{text}");',
        closes=2,
        # A failed `Debug.Assert` says so here, and the program goes on.
        env={"MONO_TRACE_LISTENER": "Console.Error"},
        limits=_ROOMY,
    ),
}
"""By the names of MultiPL-E's files.  Python has no commands: `python.py` runs it."""
