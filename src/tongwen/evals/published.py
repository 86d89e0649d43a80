"""The figures that the Qwen2 report and cards print, by model and benchmark, each with its source.

Rows and columns stand as they were published; `-` where nothing was.  Figures are in the unit of
the source: per cent, but MT-Bench and AlignBench from 1 to 10, people's ratings from 1 to 5.
"""

from collections.abc import Iterable

from tongwen.evals.printed import Printed, Published

REPORT = "Qwen2 Technical Report (arXiv 2407.10671)"
CARD = "model cards and blog of Qwen2 (June 2024)"


def published(
    *, models: Iterable[str] | None = None, benchmark: str | None = None
) -> list[Published]:
    """Figures in the order of the report, then of the cards and the rest.

    Args:
        models: Of these alone.
        benchmark: Of this alone.
    """
    wanted = None if models is None else set(models)
    return [
        each
        for printed in TABLES
        for each in printed.figures()
        if (wanted is None or each.model in wanted) and benchmark in (None, each.benchmark)
    ]


BASE: tuple[Printed, ...] = (
    Printed(
        source=f"{REPORT}, Table 2",
        table="""
Mixtral-8x22B Llama-3-70B Qwen1.5-72B Qwen1.5-110B Qwen2-72B
MMLU                77.8 79.5 77.5 80.4 84.2
MMLU-Pro            49.5 52.8 45.8 49.4 55.6
GPQA                34.3 36.3 36.3 35.9 37.9
TheoremQA           35.9 32.3 29.3 34.9 43.1
BBH                 78.9 81.0 65.5 74.8 82.4
HellaSwag           88.7 88.0 86.0 87.5 87.6
Winogrande          85.0 85.3 83.0 83.5 85.1
ARC-C               70.7 68.8 65.9 69.6 68.9
TruthfulQA          51.0 45.6 59.6 49.6 54.8
HumanEval           46.3 48.2 46.3 54.3 64.6
MBPP                71.7 70.4 66.9 70.9 76.9
EvalPlus            54.1 54.8 52.9 57.7 65.4
MultiPL-E           46.7 46.3 41.8 52.7 59.6
GSM8K               83.7 83.0 79.5 85.4 89.5
MATH                41.7 42.5 34.1 49.6 51.1
C-Eval              54.6 65.2 84.1 89.1 91.0
CMMLU               53.4 67.2 83.5 88.3 90.1
Multi-Exam          63.5 70.0 66.4 75.6 76.6
Multi-Understanding 77.7 79.9 78.2 78.2 80.7
Multi-Math          62.9 67.1 61.7 64.4 76.0
Multi-Translation   23.3 38.0 35.6 36.2 37.8
""",
    ),
    Printed(
        source=f"{REPORT}, Table 3",
        table="""
Jamba Mixtral-8x7B Yi-1.5-34B Qwen1.5-32B Qwen2-57B-A14B
MMLU                67.4 71.8 77.1 74.3 76.5
MMLU-Pro            -    41.0 48.3 44.0 43.0
GPQA                -    29.2 -    30.8 34.3
TheoremQA           -    23.2 -    28.8 33.5
BBH                 45.4 50.3 76.4 66.8 67.0
HellaSwag           87.1 86.5 85.9 85.0 85.2
Winogrande          82.5 81.9 84.9 81.5 79.5
ARC-C               64.4 66.0 65.6 63.6 64.1
TruthfulQA          46.4 51.1 53.9 57.4 57.7
HumanEval           29.3 37.2 46.3 43.3 53.0
MBPP                -    63.9 65.5 64.2 71.9
EvalPlus            -    46.4 51.9 50.4 57.2
MultiPL-E           -    39.0 39.5 38.5 49.8
GSM8K               59.9 62.5 82.7 76.8 80.7
MATH                -    30.8 41.7 36.1 43.0
C-Eval              -    -    -    83.5 87.7
CMMLU               -    -    84.8 82.3 88.5
Multi-Exam          -    56.1 58.3 61.6 65.5
Multi-Understanding -    70.7 73.9 76.5 77.0
Multi-Math          -    45.0 49.3 56.1 62.3
Multi-Translation   -    29.8 30.0 33.5 34.5
""",
    ),
    Printed(
        source=f"{REPORT}, Table 4",
        table="""
Mistral-7B Gemma-7B Llama-3-8B Qwen1.5-7B Qwen2-7B
MMLU                64.2 64.6 66.6 61.0 70.3
MMLU-Pro            30.9 33.7 35.4 29.9 40.0
GPQA                24.7 25.7 25.8 26.7 31.8
TheoremQA           19.2 21.5 22.1 14.2 31.1
BBH                 56.1 55.1 57.7 40.2 62.6
HellaSwag           83.2 82.2 82.1 78.5 80.7
Winogrande          78.4 79.0 77.4 71.3 77.0
ARC-C               60.0 61.1 59.3 54.2 60.6
TruthfulQA          42.2 44.8 44.0 51.1 54.2
HumanEval           29.3 37.2 33.5 36.0 51.2
MBPP                51.1 50.6 53.9 51.6 65.9
EvalPlus            36.4 39.6 40.3 40.0 54.2
MultiPL-E           29.4 29.7 22.6 28.1 46.3
GSM8K               52.2 46.4 56.0 62.5 79.9
MATH                13.1 24.3 20.5 20.3 44.2
C-Eval              47.4 43.6 49.5 74.1 83.2
CMMLU               -    -    50.8 73.1 83.9
Multi-Exam          47.1 42.7 52.3 47.7 59.2
Multi-Understanding 63.3 58.3 68.6 67.6 72.0
Multi-Math          26.3 39.1 36.3 37.3 57.5
Multi-Translation   23.3 31.2 31.9 28.4 31.5
""",
    ),
    Printed(
        source=f"{REPORT}, Table 5",
        table="""
Phi-2 Gemma-2B Qwen1.5-1.8B Qwen2-0.5B Qwen2-1.5B
MMLU       52.7 42.3 46.8 45.4 56.5
MMLU-Pro   -    15.9 -    14.7 21.8
TheoremQA  -    -    -    8.9  15.0
BBH        43.4 35.2 24.2 28.4 37.2
HellaSwag  73.1 71.4 61.4 49.3 66.6
Winogrande 74.4 66.8 60.3 56.8 66.2
ARC-C      61.1 48.5 37.9 31.5 43.9
TruthfulQA 44.5 33.1 39.4 39.7 45.9
HumanEval  47.6 22.0 20.1 22.0 31.1
MBPP       55.0 29.2 18.0 22.0 37.4
GSM8K      57.2 17.7 38.4 36.5 58.5
MATH       3.5  11.8 10.1 10.7 21.7
C-Eval     23.4 28.0 59.7 58.2 70.6
CMMLU      24.2 -    57.8 55.1 70.3
""",
    ),
    Printed(
        source=CARD,
        table="""
DeepSeek-V2 MiniCPM-2B
MMLU                78.5 53.5
BBH                 78.9 36.9
HellaSwag           87.8 68.3
Winogrande          84.8 -
ARC-C               70.0 -
TruthfulQA          42.2 -
HumanEval           45.7 50.0
MBPP                73.9 47.3
EvalPlus            55.0 -
MultiPL-E           44.4 -
GSM8K               79.2 53.8
MATH                43.6 10.2
C-Eval              81.7 51.1
CMMLU               84.0 51.1
Multi-Exam          67.5 -
Multi-Understanding 77.0 -
Multi-Math          58.8 -
Multi-Translation   36.0 -
""",
    ),
)
"""Base models."""

INSTRUCT: tuple[Printed, ...] = (
    Printed(
        source=f"{REPORT}, Table 6",
        table="""
Mixtral-8x22B-Instruct Llama-3-70B-Instruct Qwen1.5-72B-Chat Qwen1.5-110B-Chat Qwen2-72B-Instruct
MMLU          74.0 82.0 75.6 76.5 82.3
MMLU-Pro      56.1 56.2 51.7 50.5 64.4
GPQA          49.7 41.9 39.4 32.8 42.4
TheoremQA     40.8 42.5 28.8 18.8 44.4
HumanEval     73.8 81.7 71.3 74.4 86.0
MBPP          75.9 82.3 71.9 76.4 80.2
MultiPL-E     61.1 63.4 48.1 55.4 69.2
LiveCodeBench 21.8 29.3 17.9 25.3 35.7
GSM8K         89.1 93.0 82.7 84.5 93.2
MATH          47.4 50.4 42.5 42.0 69.0
MT-Bench      8.66 8.95 8.61 8.88 9.12
MixEval       82.3 84.0 84.1 85.7 86.7
Arena-Hard    36.4 41.1 36.1 39.8 48.1
IFEval        67.1 77.3 55.8 57.5 77.6
AlignBench    -    7.42 7.28 7.87 8.27
""",
    ),
    Printed(
        source=f"{REPORT}, Table 7",
        table="""
Mixtral-8x7B-Instruct Yi-1.5-34B-Chat Qwen1.5-32B-Chat Qwen2-57B-A14B-Instruct
MMLU          71.4 76.8 74.8 75.4
MMLU-Pro      43.3 52.3 46.4 52.8
GPQA          -    -    30.8 34.3
TheoremQA     -    -    30.9 33.1
HumanEval     45.1 75.2 68.3 79.9
MBPP          59.5 74.6 67.9 70.9
MultiPL-E     -    -    50.7 66.4
LiveCodeBench 12.3 -    15.2 25.5
GSM8K         65.7 90.2 83.6 85.3
MATH          30.7 50.1 42.4 49.1
MT-Bench      8.30 8.50 8.30 8.55
MixEval       70.0 81.7 81.0 82.3
IFEval        -    -    50.3 59.9
AlignBench    5.70 7.20 7.19 7.36
""",
    ),
    Printed(
        source=f"{REPORT}, Table 8",
        table="""
Llama-3-8B-Instruct Yi-1.5-9B-Chat GLM-4-9B-Chat Qwen1.5-7B-Chat Qwen2-7B-Instruct
MMLU          68.4 69.5 72.4 59.5 70.5
MMLU-Pro      41.0 -    -    29.1 44.1
GPQA          34.2 -    -    27.8 34.3
TheoremQA     23.0 -    -    14.1 25.3
HumanEval     62.2 66.5 71.8 46.3 79.9
MBPP          67.9 -    -    48.9 67.2
MultiPL-E     48.5 -    -    27.2 59.1
LiveCodeBench 17.3 -    -    6.0  26.6
GSM8K         79.6 84.8 79.6 60.3 85.7
MATH          30.0 47.7 50.6 23.2 52.9
MT-Bench      8.05 8.20 8.35 7.60 8.41
MixEval       75.0 74.2 -    71.4 76.5
IFEval        72.1 -    69.0 38.3 54.7
AlignBench    6.20 6.90 7.01 6.20 7.21
""",
    ),
    Printed(
        source=f"{REPORT}, Table 9",
        table="""
Qwen1.5-0.5B-Chat Qwen2-0.5B-Instruct Qwen1.5-1.8B-Chat Qwen2-1.5B-Instruct
MMLU      35.0 37.9 43.7 52.4
HumanEval 10.4 29.9 27.4 47.0
MBPP      14.5 37.8 28.6 51.9
GSM8K     11.3 40.1 35.3 61.6
IFEval    14.6 20.0 16.8 29.0
""",
    ),
    Printed(
        source=CARD,
        table="""
Llama-3-70B-Instruct Qwen1.5-72B-Chat Qwen2-72B-Instruct
EvalPlus 75.2 66.9 79.0
GSM8K    93.0 82.7 91.1
MATH     50.4 42.5 59.7
C-Eval   61.6 76.1 83.8
""",
    ),
    Printed(
        source=CARD,
        table="""
Mixtral-8x7B-Instruct Qwen1.5-32B-Chat Qwen2-57B-A14B-Instruct
EvalPlus 48.5 63.6 71.6
GSM8K    65.7 83.6 79.6
C-Eval   -    76.7 80.5
M-MMLU   -    65.0 -
MGSM     -    65.0 -
""",
    ),
    Printed(
        source=CARD,
        table="""
Llama-3-8B-Instruct GLM-4-9B-Chat Qwen1.5-7B-Chat Qwen2-7B-Instruct
GPQA     34.2 -    27.8 25.3
EvalPlus 60.9 -    44.8 70.3
GSM8K    79.6 79.6 60.3 82.3
MATH     30.0 50.6 23.2 49.6
C-Eval   45.9 75.6 67.3 77.2
""",
    ),
    Printed(
        source=CARD,
        table="""
Qwen1.5-0.5B-Chat Qwen2-0.5B-Instruct Qwen1.5-1.8B-Chat Qwen2-1.5B-Instruct
HumanEval 9.1  17.1 25.0 37.8
C-Eval    37.2 45.2 55.3 63.8
""",
    ),
    Printed(
        source=CARD,
        table="""
Qwen1.5-7B-Chat Qwen1.5-72B-Chat Qwen2-7B-Instruct Qwen2-57B-A14B-Instruct Qwen2-72B-Instruct
M-MMLU 50.0 68.4 60.0 68.0 78.0
MGSM   37.0 71.7 57.0 74.0 86.6
""",
    ),
    Printed(
        source="arXiv 2412.05210, Table 4",
        table="""
Qwen2.5-Coder-0.5B-Instruct Qwen2.5-Coder-1.5B-Instruct Qwen2.5-Coder-3B-Instruct
HumanEval  61.6 70.7 84.1
HumanEval+ 57.3 66.5 80.5
MBPP       52.4 69.2 73.6
MBPP+      43.7 59.4 62.4
MultiPL-E  49.6 56.7 -
""",
    ),
)

IN_HOUSE: tuple[Printed, ...] = (
    Printed(
        source=f"{REPORT}, Table 10",
        ending="-Instruct",
        table="""
Qwen2-0.5B Qwen2-1.5B Qwen2-7B Qwen2-57B-A14B Qwen2-72B
zh/Knowledge     28.18 35.46 61.54 64.15 76.19
zh/Exam          38.09 51.93 66.66 73.67 75.65
zh/Comprehension 35.90 44.70 59.63 67.52 74.72
zh/Coding        9.40  14.05 34.74 40.66 49.53
zh/Math          21.20 34.58 60.99 63.90 70.80
zh/Reasoning     25.61 35.94 58.22 59.89 70.59
zh/Average       26.40 36.11 56.96 61.63 69.58
""",
    ),
    Printed(
        source=f"{REPORT}, Table 11",
        ending="-Instruct",
        table="""
Qwen2-0.5B Qwen2-1.5B Qwen2-7B Qwen2-57B-A14B Qwen2-72B
en/Knowledge     43.19 56.03 73.75 76.80 83.00
en/Comprehension 29.57 45.08 63.09 67.92 73.58
en/Coding        6.95  17.61 36.41 42.37 53.03
en/Math          31.52 50.44 75.67 77.04 82.15
en/Average       27.81 42.29 62.23 66.03 72.94
""",
    ),
    Printed(
        source=f"{REPORT}, Table 13: people's ratings, 1 to 5",
        table="""
GPT-3.5-Turbo GPT-4-Turbo GPT-4o Claude-3-Opus Qwen2-72B-Instruct
rated/ar      2.52 3.44 3.55 4.15 3.86
rated/fr      3.47 4.19 4.16 4.23 4.01
rated/id      3.56 4.09 4.39 4.40 3.83
rated/ja      2.75 3.68 3.72 3.85 3.63
rated/ko      2.37 4.24 4.40 4.23 4.14
rated/pt      3.37 3.86 3.89 4.09 3.97
rated/ru      3.24 4.27 4.32 4.25 4.15
rated/es      4.07 4.08 4.26 4.31 4.10
rated/th      3.38 4.11 4.09 4.01 3.75
rated/vi      2.90 3.84 4.14 3.98 3.91
rated/Average 3.16 3.98 4.09 4.15 3.93
""",
    ),
)
"""On data that was not published: to be read, not to be measured."""

SAFETY: tuple[Printed, ...] = (
    Printed(
        source=f"{REPORT}, Table 14: harmful answers in per cent, less is better",
        table="""
GPT-4 Mixtral-8x22B-Instruct Qwen2-72B-Instruct
safety/illegal     0.00  6.87  0.00
safety/fraud       3.40  8.49  2.41
safety/pornography 23.63 33.82 22.91
safety/privacy     3.37  15.03 2.47
""",
    ),
)

AGAIN = "blog qwen2.5-llm: measured again, in another harness"
MEASURED_AGAIN: tuple[Printed, ...] = (
    Printed(
        source=AGAIN,
        table="""
Qwen2-0.5B Qwen2-1.5B Qwen2.5-0.5B Qwen2.5-1.5B
MMLU                44.3 55.9 47.5 60.9
BBH                 18.2 -    -    -
GPQA                29.8 -    -    -
HumanEval           22.6 34.8 30.5 37.2
HumanEval+          18.9 29.9 26.8 32.9
MBPP                33.1 46.9 39.3 60.2
MBPP+               27.6 37.6 33.8 49.6
MultiPL-E           16.3 -    -    -
GSM8K               -    46.9 41.6 68.5
Multi-Exam          29.4 -    -    -
Multi-Understanding 40.4 -    -    -
Multi-Math          7.8  -    -    -
Multi-Translation   14.1 -    -    -
""",
    ),
    Printed(
        source=AGAIN,
        ending="-Instruct",
        table="""
Qwen2-0.5B Qwen2-1.5B Qwen2.5-0.5B Qwen2.5-1.5B
MMLU-Pro      14.4 22.9 15.0 32.4
MMLU-redux    12.9 41.2 24.1 50.7
GPQA          23.7 21.2 29.8 29.8
MATH          13.9 25.3 34.4 55.2
GSM8K         -    -    49.6 73.2
HumanEval     31.1 42.1 35.4 61.6
MBPP          39.7 44.2 49.6 63.2
MultiPL-E     20.8 38.5 28.5 50.4
LiveCodeBench 1.6  4.5  5.1  14.8
LiveBench     7.4  12.4 12.6 18.8
IFEval        14.6 29.0 27.9 42.5
""",
    ),
)
"""Not to be mixed with the others."""

TABLES = (*BASE, *INSTRUCT, *IN_HOUSE, *SAFETY, *MEASURED_AGAIN)
