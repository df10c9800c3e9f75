"""Prometheus metrics: what happened, counted from the event stream; how things are, asked of the gateway at every scrape.

Label values come from closed lists (statuses, slugs, rungs, pool names), never from what a peer sent: the number of series is bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.errors import ConfigError, explain
from headrace.shell import events as out

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from headrace.model import Endpoint

PREFIX: Final = "headrace"
RUNG_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds: from a gateway on the same machine to a person who types a password."""
SCRAPE_TIMEOUT: Final = 5.0
"""Seconds that the gateway's loop has to answer a scrape."""

log = logging.getLogger("headrace.metrics")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a gateway is, at one moment."""

    since: float
    """Its start, seconds since 1970."""
    version: str
    kernels: str
    """Level of the data plane's kernels."""
    policy: str
    peers: int
    sessions: int
    max_sessions: int
    pools: Mapping[str, tuple[int, int]]
    """Name: addresses in use, and all."""
    packets: Mapping[str, tuple[int, int]]
    """Status label: packets and octets, of everything that the data plane has seen."""
    control_drops: Mapping[str, int]
    certificate_until: float | None = None
    """End of our certificate's life, seconds since 1970."""


class Metrics(Collector):
    """One registry. ``snapshot`` is asked on the loop that made this object, from whatever thread a scrape comes in."""

    def __init__(self, snapshot: Callable[[], Awaitable[Snapshot]]) -> None:
        self.registry = CollectorRegistry()
        self._snapshot = snapshot
        self._loop = asyncio.get_running_loop()
        self._refusals = Counter(
            f"{PREFIX}_refusals", "Connections that did not come up.", ("rung", "reason", "ras"), registry=self.registry
        )
        self._started = Counter(
            f"{PREFIX}_sessions_started", "Sessions that came up.", ("machine_auth", "user_auth"), registry=self.registry
        )
        self._ended = Counter(
            f"{PREFIX}_sessions_ended", "Sessions that were up and ended.", ("reason",), registry=self.registry
        )
        self._octets = Counter(
            f"{PREFIX}_session_octets", "Inner octets of sessions that have ended.", ("direction",), registry=self.registry
        )
        self._rungs = Histogram(
            f"{PREFIX}_rung_seconds",
            "Time that sessions which came up spent on each rung of the ladder.",
            ("rung",),
            buckets=RUNG_BUCKETS,
            registry=self.registry,
        )
        for direction in ("in", "out"):
            self._octets.labels(direction)
        self.registry.register(self)

    def observe(self, event: out.Event) -> None:
        """Count an event."""
        match event:
            case out.SessionUp(session=session):
                self._started.labels(session.machine_auth or "none", session.user_auth or "none").inc()
                for rung, seconds in session.rungs.items():
                    self._rungs.labels(str(rung)).observe(seconds)
            case out.SessionDown(session=session, failure=failure):
                self._ended.labels(failure.slug.value).inc()
                self._octets.labels("in").inc(session.rx_bytes)
                self._octets.labels("out").inc(session.tx_bytes)
            case out.Refused(rung=rung, failure=failure):
                ras = explain(failure.slug).ras
                self._refusals.labels(out.rung_name(rung), failure.slug.value, str(ras or "")).inc()

    def collect(self) -> Iterator[Metric]:
        """Ask how things are (``prometheus_client``'s interface; another thread than the loop's)."""
        try:
            now = asyncio.run_coroutine_threadsafe(self._ask(), self._loop).result(SCRAPE_TIMEOUT)
        except (TimeoutError, RuntimeError):
            log.warning("a scrape got no answer from the gateway within %.0f s", SCRAPE_TIMEOUT)
            return
        yield from families(now)

    async def _ask(self) -> Snapshot:
        return await self._snapshot()

    def describe(self) -> Iterator[Metric]:
        """Nothing can be told before the gateway runs (``prometheus_client``'s interface)."""
        return iter(())


def families(now: Snapshot) -> Iterator[Metric]:
    """A snapshot as Prometheus has it."""
    info = GaugeMetricFamily(f"{PREFIX}_build_info", "Always 1.", labels=("version", "kernels", "policy"))
    info.add_metric((now.version, now.kernels, now.policy), 1)
    yield info
    for name, text, value in (
        ("start_time_seconds", "When the gateway started, since 1970.", now.since),
        ("peers", "Machines with an IPsec (or clear L2TP) association.", now.peers),
        ("sessions", "Sessions that are up or coming up.", now.sessions),
        ("sessions_limit", "Sessions that there can be.", now.max_sessions),
    ):
        yield GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)
    if now.certificate_until is not None:
        text = "End of the gateway's certificate, since 1970."
        yield GaugeMetricFamily(f"{PREFIX}_certificate_expiry_timestamp_seconds", text, value=now.certificate_until)
    used = GaugeMetricFamily(f"{PREFIX}_pool_addresses_used", "Addresses in use.", labels=("pool",))
    size = GaugeMetricFamily(f"{PREFIX}_pool_addresses", "Addresses that a pool has.", labels=("pool",))
    for name, (taken, total) in now.pools.items():
        used.add_metric((name,), taken)
        size.add_metric((name,), total)
    yield used
    yield size
    packets = CounterMetricFamily(f"{PREFIX}_packets", "What became of the data plane's packets.", labels=("status",))
    octets = CounterMetricFamily(f"{PREFIX}_packet_octets", "The same in octets.", labels=("status",))
    for status, (count, size_of) in now.packets.items():
        packets.add_metric((status,), count)
        octets.add_metric((status,), size_of)
    yield packets
    yield octets
    drops = CounterMetricFamily(f"{PREFIX}_control_drops", "Control messages that were ignored.", labels=("reason",))
    for reason, count in now.control_drops.items():
        drops.add_metric((reason,), count)
    yield drops


class MetricsServer:
    """Serves a registry by HTTP until it is left. Raises ``ConfigError`` when the address cannot be had."""

    def __init__(self, metrics: Metrics, listen: Endpoint) -> None:
        try:
            self._server, self._thread = start_http_server(listen.port, str(listen.address), registry=metrics.registry)
        except OSError as error:
            raise ConfigError(
                f"metrics.listen: {listen}: {error.strerror or error}; name another address or port, or leave the section out"
            ) from error
        self.port = int(self._server.server_port)
        """The port, which was free if the configured one was 0."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
