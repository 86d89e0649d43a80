"""The reports of benchmarks say what their lines say."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest

Line = dict[str, Any]


@pytest.fixture
def peers_report() -> ModuleType:
    import peers_report

    return peers_report


def line(group: str, work: str, unit: str, values: dict[str, list[float]], **more: Any) -> Line:
    results = {
        who: {"median": sorted(each)[len(each) // 2], "spread": [min(each), max(each)],
              "values": each}
        for who, each in values.items()
    }  # fmt: skip
    settings = {"group": group, "model": "m", "about": {}, "missing": {}, "peak_gops": {}, **more}
    return {
        "measured": work,
        "unit": unit,
        "results": results,
        "settings": settings,
        "repeats": 3,
        "discarded": 1,
        "probes": [{"read_gb_per_s": 40.0, "gflops": 400.0, "int8_gops": 1800.0}] * 4,
        "date": "2026-11-22T00:00:00+00:00",
        "machine": {"cpu": "a processor", "cores": 2, "memory_gib": 24, "system": "Linux"},
        "versions": {"python": "3.11", "torch": "2.13"},
        "commit": "abc",
    }


DECODE = line(
    "file",
    "decode",
    "tokens/s",
    {"tongwen": [70.0, 80.0, 90.0], "llama.cpp": [50.0, 40.0, 60.0]},
    about={"tongwen": {"bytes_per_token": 4e8}},
)
PREFILL = line(
    "file",
    "prefill",
    "tokens/s",
    {
        "tongwen": [900.0, 1000.0, 1100.0],
        "OpenVINO GenAI, Q8_0": [600.0, 500.0, 550.0],
        "transformers, bf16": [600.0, 610.0, 620.0],
    },
    about={"tongwen": {"prompt_operations": 450e9}},
    peak_gops={"tongwen": 1800.0},
    missing={"llama.cpp": "llama.cpp is not installed (TONGWEN_LLAMA_CPP)"},
)
COLD = line("cold", "first_byte", "s", {"tongwen run": [2.5, 2.6, 2.7], "import torch": [1.5] * 3})
MEMORY = line("memory", "peak_memory", "MB", {"tongwen": [900.0] * 3, "llama.cpp": [600.0] * 3})


def rows(report: ModuleType, *lines: Line) -> dict[str, list[str]]:
    table = report.table(list(lines)).splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table]
    return {row[0]: row[1:] for row in cells}


def test_a_ratio_is_of_medians_and_of_rounds(peers_report: ModuleType) -> None:
    found = rows(peers_report, DECODE)["decode, the Q4_K_M file"]
    assert found[:3] == ["80 tokens/s", "llama.cpp", "50"]
    assert found[3] == "1.60x, by round 1.50x"
    assert found[4:] == [">= 1.5x", "80%", "3 (1 discarded)"]


def test_the_best_of_several_is_what_counts(peers_report: ModuleType) -> None:
    found = rows(peers_report, PREFILL)["prefill of 512"]
    assert found[1:3] == ["transformers, bf16", "610"]
    assert found[4] == ">= 1.8x **missed**"
    assert found[5] == "49%"


def test_who_is_missing_is_said(peers_report: ModuleType) -> None:
    found = rows(peers_report, PREFILL)
    assert found["prefill of 512, the file"][-1] == "llama.cpp is not installed (TONGWEN_LLAMA_CPP)"
    assert found["decode, the Q4_K_M file"][-1] == "not measured"


def test_less_is_better_for_time_and_memory(peers_report: ModuleType) -> None:
    found = rows(peers_report, COLD, MEMORY)
    assert found["cold start to the first byte"][3:5] == ["+1.10 s, by round +1.10 s", "<= +1.2 s"]
    assert found["peak memory, 4032 + 64 tokens"][4] == "<= 1.3x **missed**"


def test_the_last_measurement_of_a_day_counts(peers_report: ModuleType) -> None:
    later = line("file", "decode", "tokens/s", {"tongwen": [50.0], "llama.cpp": [50.0]})
    assert rows(peers_report, DECODE, later)["decode, the Q4_K_M file"][0] == "50 tokens/s"


def test_the_page_has_all_and_the_chart_is_drawn(peers_report: ModuleType, tmp_path: Path) -> None:
    lines = [DECODE, PREFILL, COLD, MEMORY]
    page = peers_report.page(lines, "cpu_peers_x")
    assert peers_report.table(lines) in page
    assert "| memory read, GB/s | 40 | 40 | 40 |" in page
    assert "- cold, first_byte (s): tongwen run 2.5 to 2.7; import torch 1.5 to 1.5" in page
    peers_report.chart(lines, tmp_path / "chart.svg")
    words = "".join(ET.parse(tmp_path / "chart.svg").getroot().itertext())
    assert "1.60x" in words
    assert "1.64x" in words
    assert "cold start" not in words, "only speeds are drawn"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_peak_is_of_the_process_alone() -> None:
    import peers

    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])
    program = "import time; held = b'x' * 50_000_000; time.sleep(0.3)"
    assert 50e6 < peers.peak_bytes([sys.executable, "-c", program]) < 100e6
