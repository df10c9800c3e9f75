"""What the benchmarks of this room share: one compiled harness, one processor."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import pytest

from headrace.bench.native import Toolbox
from headrace.bench.run import pinned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Record = Callable[[Any, Callable[[], list[float]], int], None]


@pytest.fixture(scope="session")
def toolbox() -> Toolbox:
    """Harness and peers."""
    return Toolbox()


@pytest.fixture(autouse=True)
def _one_core() -> Iterator[None]:
    with pinned():
        yield


@pytest.fixture
def record(toolbox: Toolbox) -> Record:
    """Run passes under pytest-benchmark, and keep what the harness's own clock says, without Python around it, as extra information."""

    def run(benchmark: Any, one_pass: Callable[[], list[float]], octets: int) -> None:
        times: list[float] = []

        def once() -> None:
            times.extend(one_pass())

        rounds = 1 if benchmark.disabled else 50
        benchmark.pedantic(once, rounds=rounds, iterations=1, warmup_rounds=0 if benchmark.disabled else 5)
        assert times
        ns = statistics.median(times)
        benchmark.extra_info["gbit_per_s"] = round(octets * 8 / ns, 3)
        benchmark.extra_info["cycles_per_byte"] = round(ns * toolbox.core_ghz() / octets, 3)

    return run
