"""Print how long the functions and files under `src` are: what a reader has to hold in mind."""

import ast
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

SOURCE = Path(__file__).resolve().parents[1] / "src"


@dataclass(frozen=True, slots=True)
class Function:
    """One function or method and its length in lines, signature and docstring included."""

    lines: int
    place: str


def functions(path: Path) -> list[Function]:
    """Every function of one file, nested ones too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        Function(node.end_lineno - node.lineno + 1, f"{path.relative_to(SOURCE)}:{node.name}")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]


def main() -> None:
    """Measure and print."""
    files = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")
    }
    found = [function for path in sorted(files) for function in functions(path)]
    lengths = [function.lines for function in found]
    longest = max(found, key=lambda function: function.lines)
    largest = max(files, key=files.__getitem__)
    print(
        f"{len(files)} files, {sum(files.values())} lines, {len(found)} functions\n"
        f"function length: median {median(lengths):g}, "
        f"95th percentile {quantiles(lengths, n=20)[-1]:g}, "
        f"longest {longest.lines} ({longest.place})\n"
        f"longest file: {files[largest]} ({largest.relative_to(SOURCE)})"
    )


if __name__ == "__main__":
    main()
