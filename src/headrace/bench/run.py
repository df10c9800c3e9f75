"""Runs the suites and collects a report, telling how far it is."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from headrace.bench import bars, machine, pipeline, python_peers
from headrace.bench.cases import ESP, MPPE, PACKETS, SIZES, Case, Size, directions
from headrace.bench.measure import FULL, QUICK, Effort, measure
from headrace.bench.native import BenchError, Toolbox
from headrace.bench.report import Report
from headrace.errors import ConfigError
from headrace.esp.proposal import EspProposal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KERNELS: Final = "kernels"
PIPELINE: Final = "pipeline"
BARS_EFFORT: Final = Effort(rounds=9, turn=0.008, trials=4)
_LISTED: Final = (*ESP, "aes256-sha1")
"""What is measured if nothing is named: the bars' transforms, and what Windows and Apple choose."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    suites: tuple[str, ...] = (KERNELS, PIPELINE)
    quick: bool = False
    only: str | None = None
    bars: bool = False
    peers: bool = True

    def __post_init__(self) -> None:
        if self.only is not None and self.only not in MPPE:
            try:
                EspProposal.parse(self.only)
            except ConfigError as error:
                raise BenchError(
                    f"--only {self.only}: neither an ESP proposal like aes128-sha1 nor one of {', '.join(MPPE)}"
                ) from error


@contextlib.contextmanager
def pinned() -> Iterator[int]:
    """Run on one processor, and anywhere again afterwards. Yields which; -1 if the system does not allow it."""
    before = os.sched_getaffinity(0)
    try:
        yield machine.pin()
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, before)


def run(options: Options, progress: Callable[[float, str], None]) -> Report:
    """Measure. ``progress`` gets the part that is done, 0 to 1, and what comes next. Raises ``BenchError``, ``DataPlaneError``."""
    progress(0.0, "compiling the harness")
    toolbox = Toolbox(peers=options.peers)
    with pinned() as core:
        ports = toolbox.ports()
        report = Report(machine.describe(toolbox, core, ports))
        steps = list(_steps(options, toolbox, report))
        for number, (text, step) in enumerate(steps):
            progress(number / len(steps), text)
            step()
    progress(1.0, "done")
    return report


_Step = tuple[str, "Callable[[], None]"]


def _steps(options: Options, toolbox: Toolbox, report: Report) -> Iterator[_Step]:
    if KERNELS in options.suites:
        yield from _bar_steps(options, toolbox, report) if options.bars else _kernel_steps(options, toolbox, report)
    if PIPELINE in options.suites:
        yield from _pipeline_steps(options, toolbox, report)


def _kernel_steps(options: Options, toolbox: Toolbox, report: Report) -> Iterator[_Step]:
    effort = QUICK if options.quick else FULL
    for case in _cases(options):
        extra: list[python_peers.Maker] = [python_peers.cryptography] if case.batch == PACKETS and case.size != 256 else []
        if case.batch == PACKETS and case.size == 1400 and not options.quick:
            extra.append(python_peers.scapy)

        def step(case: Case = case, extra: list[python_peers.Maker] = extra) -> None:
            report.add(KERNELS, measure(toolbox, case, effort, extra=extra if options.peers else ()))

        yield case.label, step


def _cases(options: Options) -> Iterator[Case]:
    transforms = (options.only,) if options.only else (*_LISTED, *MPPE)
    for transform in transforms:
        batches: tuple[tuple[Size, int], ...] = (
            (("imix", 32),) if options.quick else tuple((size, batch) for size in (1400, "imix") for batch in (1, 8, 32, 64))
        )
        for direction in directions(transform):
            for size in SIZES:
                yield Case(transform, direction, size)
            for size, batch in batches:
                yield Case(transform, direction, size, batch)


def _bar_steps(options: Options, toolbox: Toolbox, report: Report) -> Iterator[_Step]:
    effort = QUICK if options.quick else BARS_EFFORT
    for bar in bars.bars(options.only):

        def step(bar: bars.Bar = bar) -> None:
            results = measure(toolbox, bar.case, effort)
            report.add(KERNELS, results)
            verdict = bars.judge(bar, results)
            if verdict is not None:
                report.add_bars([verdict])

        yield bar.case.label, step


PIPELINE_BAR: Final = 0.15
"""What encap and decap may cost over the ESP work alone, without MPPE."""
MIXED_BAR: Final = 0.20
"""What a mixed batch may lose against uniform ones."""
_PIPELINE: Final = ("aes128-sha1", "aes256gcm16")


def _pipeline_steps(options: Options, toolbox: Toolbox, report: Report) -> Iterator[_Step]:
    effort = QUICK if options.quick else FULL
    if options.only in MPPE:
        return
    for traffic in pipeline.plan((options.only,) if options.only else _PIPELINE, quick=options.quick):

        def step(traffic: pipeline.Traffic = traffic) -> None:
            bar = PIPELINE_BAR if traffic.batch == PACKETS else None
            outcome = pipeline.measure_one(toolbox, traffic, effort, bar=bar)
            report.add(PIPELINE, outcome.results)
            report.add_overheads(outcome.overheads)

        yield f"pipeline: {traffic.name}, {traffic.size}, batch {traffic.batch}", step
    if options.only:
        return

    def mixed() -> None:
        outcome = pipeline.measure_mixed(toolbox, effort, bar=MIXED_BAR)
        report.add(PIPELINE, outcome.results)
        report.add_overheads(outcome.overheads)

    yield "pipeline: mixed batches", mixed
