"""Encap and decap of whole batches: ``make bench``. ``headrace bench pipeline`` has the tables."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from headrace.bench.pipeline import MIXED_TRANSFORMS, Pipe, Traffic, plan

if TYPE_CHECKING:
    from headrace.bench.native import Toolbox

TRAFFIC = [
    *plan(["aes128-sha1", "aes256gcm16"], quick=True),
    Traffic("mixed", MIXED_TRANSFORMS, "imix", sessions=64),
]


@pytest.mark.parametrize("direction", ["encap", "decap"])
@pytest.mark.parametrize("traffic", TRAFFIC, ids=lambda traffic: f"{traffic.name} {traffic.size} b{traffic.batch}")
def test_pipeline(benchmark: Any, toolbox: Toolbox, record: Any, traffic: Traffic, direction: str) -> None:
    benchmark.group = f"{direction}: {traffic.name}, {traffic.size}, batch {traffic.batch}"
    with ExitStack() as stack:
        pipe = Pipe(toolbox, traffic, stack)
        record(benchmark, lambda: pipe.run(0.0, 1)[direction == "decap"], pipe.octets)
