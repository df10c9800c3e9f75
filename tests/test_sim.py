"""The simulator itself: same seed, same run; the weather does what it says."""

from __future__ import annotations

import pytest
from tests.sim import BAD, CALM, Adapter, Simulation, SimulationError, Weather


class Echo:
    """Sends a number each second and remembers what comes."""

    def __init__(self, count: int) -> None:
        self.out: list[int] = []
        self.got: list[tuple[float, int]] = []
        self.left = count
        self.next = 1001.0

    def deadline(self) -> float | None:
        return self.next if self.left else None

    def tick(self, now: float) -> None:
        if self.left and now >= self.next:
            self.out.append(self.left)
            self.left -= 1
            self.next += 1.0

    def drain(self) -> list[int]:
        out, self.out = self.out, []
        return out

    def adapter(self) -> Adapter[int]:
        return Adapter(self.drain, lambda d, now: self.got.append((now, d)), self.deadline, self.tick)


def run(weather: Weather, seed: int, count: int = 200) -> list[tuple[float, int]]:
    a, b = Echo(count), Echo(0)
    with Simulation(a.adapter(), b.adapter(), weather, seed=seed) as sim:
        sim.run_for(count + 10.0)
    return b.got


def test_calm_weather_delivers_everything_in_order_after_the_latency() -> None:
    got = run(CALM, 1)
    assert [d for _, d in got] == list(range(200, 0, -1))
    assert got[0][0] == pytest.approx(1001.01)


def test_the_same_seed_gives_the_same_run_and_another_does_not() -> None:
    assert run(BAD, 5) == run(BAD, 5)
    assert run(BAD, 5) != run(BAD, 6)


def test_loss_duplication_and_reordering_happen() -> None:
    got = [d for _, d in run(Weather(loss=0.2, duplicate=0.3, reorder=0.3, reorder_delay=2.5), 3)]
    assert len(set(got)) < 200
    assert len(got) > len(set(got))
    assert got != sorted(got, reverse=True)


def test_a_failure_carries_the_seed() -> None:
    a, b = Echo(0), Echo(0)
    with pytest.raises(ZeroDivisionError) as caught, Simulation(a.adapter(), b.adapter(), seed=42) as sim:
        sim.run_for(1.0)
        _ = 1 / 0
    assert any("seed=42" in note for note in caught.value.__notes__)


def test_what_never_happens_is_an_error() -> None:
    a, b = Echo(1), Echo(0)
    with pytest.raises(SimulationError, match="seed 9"), Simulation(a.adapter(), b.adapter(), seed=9) as sim:
        sim.run_until(lambda: False, limit=5.0)


def test_the_tap_sees_and_swallows() -> None:
    a, b = Echo(3), Echo(0)
    with Simulation(a.adapter(), b.adapter(), tap=lambda _now, _right, d: None if d == 2 else d * 10) as sim:
        sim.run_for(10.0)
    assert [d for _, d in b.got] == [30, 10]
