"""`run`: benchmarks on a model, one after the other."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from tongwen.engine.llm import LLM
from tongwen.errors import SandboxError, TongwenError
from tongwen.evals.cards import Measured, card
from tongwen.evals.catalogue import TASKS, task_named
from tongwen.evals.examine import Tell
from tongwen.evals.suites import Suite
from tongwen.evals.table import Table
from tongwen.evals.target import Target, opened
from tongwen.evals.trial import Bench, EvalConfig, Result, make_task, run_task
from tongwen.judge.sandbox import Sandbox

Done = TypeVar("Done")
Show = Callable[[Result], None]


def run(
    tasks: str | Sequence[str],
    target: Target | str | Path | LLM,
    config: EvalConfig,
    *,
    judge: Target | None = None,
    tell: Tell = lambda _: None,
    show: Show = lambda _: None,
) -> list[Result]:
    """Measure a model: benchmarks one after the other; also within a running event loop.

    Args:
        tasks: Their names; `tongwen eval list` prints them.
        target: The model.
        config: How they are run.
        judge: Who gives the verdicts, where a benchmark wants a judge.
        tell: Called after each sample.
        show: Called after each benchmark.

    Raises:
        TongwenError: The model, a benchmark or its data is not there.
    """
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    model = target if isinstance(target, Target) else Target(model=target)
    for name in names:
        task_named(name)  # a wrong name is said before a model is loaded
    return finished(lambda: _run(names, model, judge, config, tell=tell, show=show))


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteResult:
    """A suite that was run."""

    suite: Suite
    name: str
    """Of the model."""

    results: list[Result]
    missing: Mapping[str, str]
    """Why a benchmark was not run, by its name."""

    def table(self) -> Table:
        """The card: our column beside the published ones."""
        figures = {each.receipt.settings.task: each.figure for each in self.results}
        return card(self.suite, [Measured(self.name, figures, remarks(self.results))])


def remarks(results: Sequence[Result]) -> list[str]:
    """What was not answered, and where not all samples were asked."""
    receipts = [result.receipt for result in results]
    failed = [
        f"{each.num_failed} of {each.num_samples} samples of {each.settings.task} failed, and are "
        "not in its figure"
        for each in receipts
        if each.num_failed
    ]
    limits = {each.settings.limit for each in receipts if each.settings.limit is not None}
    drawn = [f"of each benchmark {limit} samples at most, drawn by a seed" for limit in limits]
    return failed + drawn


def run_suite(
    suite: Suite,
    target: Target | str | Path | LLM,
    config: EvalConfig,
    *,
    judge: Target | None = None,
    tell: Tell = lambda _: None,
) -> SuiteResult:
    """Run the benchmarks of a suite; one whose data or judge is not there is left out, by name.

    Args:
        suite: Which, with the preset of each.
        target: The model.
        config: How they are run, but for preset and shots.
        judge: Who gives the verdicts.
        tell: Called after each sample.

    Raises:
        TongwenError: The model is not there.
    """
    model = target if isinstance(target, Target) else Target(model=target)
    names = [part.task for part in suite.parts if part.task in TASKS]

    async def each() -> SuiteResult:
        results: list[Result] = []
        missing: dict[str, str] = {}
        async with bench_for(names, model, judge, may_lack_sandbox=True) as bench:
            for part in suite.parts:
                asked = replace(config, preset=part.preset, shots=part.shots)
                try:
                    results.append(await run_task(part.task, bench, asked, tell))
                except TongwenError as error:
                    missing[part.task] = error.message
            name = bench.subject.name
        return SuiteResult(suite=suite, name=name, results=results, missing=missing)

    return finished(each)


async def _run(
    names: Sequence[str],
    target: Target,
    judge: Target | None,
    config: EvalConfig,
    *,
    tell: Tell,
    show: Show,
) -> list[Result]:
    results = []
    async with bench_for(names, target, judge) as bench:
        for name in names:
            make_task(name, bench, config).samples()  # what lacks data is said before hours pass
        for name in names:
            results.append(await run_task(name, bench, config, tell))
            show(results[-1])
    return results


@contextlib.asynccontextmanager
async def bench_for(
    names: Sequence[str],
    target: Target,
    judge: Target | None,
    *,
    may_lack_sandbox: bool = False,
) -> AsyncGenerator[Bench, None]:
    """What benchmarks are run with; the model's and the judge's memory is let go at the end.

    Raises:
        TongwenError: The model is not there, or no program can be run in isolation here.
    """
    needs = {need for name in names for need in task_named(name).about.needs}
    async with contextlib.AsyncExitStack() as stack:
        # Programs may not be run here: say so before minutes are spent.
        sandbox = None
        if "sandbox" in needs:
            with contextlib.suppress(*([SandboxError] if may_lack_sandbox else [])):
                sandbox = stack.enter_context(Sandbox())
        client, subject = await stack.enter_async_context(opened(target))
        verdicts, judged_by = None, None
        if judge is not None:
            verdicts, judged_by = await stack.enter_async_context(opened(judge))
        yield Bench(
            client=client, subject=subject, sandbox=sandbox, judge=verdicts, judged_by=judged_by
        )


def finished(work: Callable[[], Coroutine[Any, Any, Done]]) -> Done:
    """What comes of a coroutine; in a thread of its own where this one runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()
