"""The pipeline's benchmark: every packet through two data planes, and ratios that mean what they say."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from headrace.bench.measure import SMOKE
from headrace.bench.native import BenchError
from headrace.bench.pipeline import AROUND, Pipe, Traffic, measure_mixed, measure_one, plan
from headrace.bench.sets import EspSet

if TYPE_CHECKING:
    from headrace.bench.native import Toolbox


@pytest.mark.parametrize(
    "traffic",
    [
        Traffic("aes128-sha1", ("aes128-sha1",), "imix"),
        Traffic("aes256gcm16", ("aes256gcm16",), 1400, batch=8),
        Traffic("mixed", ("aes128-sha1", "aes256gcm16"), "imix", sessions=64),
        Traffic("mppe", ("aes128-sha1",), 64, mppe=True),
    ],
    ids=lambda traffic: traffic.name,
)
def test_traffic(toolbox: Toolbox, traffic: Traffic) -> None:
    with ExitStack() as stack:
        pipe = Pipe(toolbox, traffic, stack)
        for _ in range(3):
            there, back = pipe.run(0.0, 2)
            assert len(there) == len(back) == 2
            assert min(*there, *back) > 0


def test_esp_alone_has_packets_of_the_same_length(toolbox: Toolbox) -> None:
    outcome = measure_one(toolbox, Traffic("aes128-sha1", ("aes128-sha1",), 256), SMOKE, bar=0.15)
    assert [(row.case.direction, row.implementation) for row in outcome.results] == [
        ("encap", "headrace"),
        ("encap", "ESP alone"),
        ("decap", "headrace"),
        ("decap", "ESP alone"),
    ]
    assert {row.octets for row in outcome.results} == {256 * 256}
    assert [item.direction for item in outcome.overheads] == ["encap", "decap"]
    assert all(item.bar == 0.15 for item in outcome.overheads)
    with ExitStack() as stack:
        pipe = Pipe(toolbox, Traffic("aes128-sha1", ("aes128-sha1",), 256), stack)
        pipe.out.encap(pipe._batch, 1)
        wire = set(pipe._batch.desc["len"].tolist())
    case = outcome.results[0].case
    sizes = [256 + AROUND] * 256
    packets = EspSet(type(case)("aes128-sha1", "decrypt", 256), sizes, [0] * 256)
    assert wire == {int(packets.packets[0].len)}


def test_mixed_batches(toolbox: Toolbox) -> None:
    outcome = measure_mixed(toolbox, SMOKE, bar=0.2)
    assert len(outcome.results) == len(outcome.overheads) == 8
    assert all(item.median > -1 for item in outcome.overheads)


def test_a_packet_that_does_not_come_through_is_told(toolbox: Toolbox) -> None:
    with ExitStack() as stack:
        pipe = Pipe(toolbox, Traffic("x", ("aes128-sha1",), 64), stack)
        pipe.into.remove_session(0)
        with pytest.raises(BenchError, match="lost"):
            pipe.run(0.0, 1)


def test_the_plan_has_the_curve() -> None:
    found = plan(["aes128-sha1", "aes256gcm16"], quick=False)
    assert {1, 8, 32, 256} <= {traffic.batch for traffic in found if traffic.name == "aes128-sha1"}
    assert any(traffic.mppe for traffic in found)
    assert len(plan(["aes128-sha1"], quick=True)) < len(plan(["aes128-sha1"], quick=False))
