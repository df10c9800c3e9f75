"""Whole tunnels between two network namespaces: TCP, UDP, latency, processor time; ours, the bare cable, forwarders, other VPNs.

Both ends, the sender and the receiver share this machine's processors, so a figure is what all of them do together. What matters are
ratios between rows of one run: the plain forwarders say what a tunnel in user space could reach here if cryptography cost nothing.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from headrace.bench.machine import processor
from headrace.bench.native import BenchError
from headrace.bench.stage import GATEWAY, open_stage
from headrace.bench.tunnel_peers import RIVALS, VETH, versions
from headrace.dataplane import cpu_level
from headrace.shell.netns import NamespaceError, become_root_in_user_namespace
from headrace.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from headrace.bench.stage import Stage, Transfer

INNER: Final = "10.99.0.1"
SIZE: Final = 1400
"""IP packets of the UDP runs, octets."""
_USER: Final = "bench"
_PASSWORD: Final = "a password for nobody but the benchmark"  # noqa: S105 (of an account that lives as long as the run)

CONFIG: Final = f"""\
[gateway]
name = "bench"
listen = ["{GATEWAY}"]
state_dir = "state"
control_socket = "control.sock"
insecure_lab_mode = true

[ike]
psk_file = "psk"

[esp]
proposals = ["aes256gcm16", "aes128gcm16", "aes128-sha1"]

[ppp]
encryption = "optional"

[network]
address = "{INNER}"

[network.pools]
bench = ["10.99.0.2-10.99.0.254"]

[accounts]
database = "accounts.db"
key_file = "accounts.key"
"""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of protecting our tunnel."""

    esp: str
    udp: bool = True
    mppe: bool = False

    @property
    def options(self) -> list[str]:
        """For ``headrace dial``."""
        encapsulation = ["--force-encapsulation"] if self.udp else []
        return ["--esp-proposal", self.esp, "--encryption", "required-128" if self.mppe else "off", *encapsulation]

    @property
    def transform(self) -> str:
        """As rows name it."""
        return f"{self.esp}{'' if self.udp else ', raw'}{', mppe128' if self.mppe else ''}"


GCM: Final = Variant("aes128gcm16")
CBC: Final = Variant("aes128-sha1")
RAW: Final = Variant("aes128gcm16", udp=False)
MPPE: Final = Variant("aes128-sha1", mppe=True)
VARIANTS: Final = (
    GCM,
    CBC,
    RAW,
    MPPE,
    Variant("aes256gcm16"),
    Variant("aes128-sha1", udp=False),
    Variant("aes128gcm16", mppe=True),
)
QUICK: Final = (GCM, CBC, RAW, MPPE)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    seconds: float
    """Of each transfer over TCP."""
    rounds: int
    udp_steps: int
    udp_all: bool
    """UDP through everything; else only through the VPNs, and the first transform of ours."""
    pings: int
    variants: tuple[Variant, ...]
    peers: bool = True
    only: str | None = None
    """One transform, or one implementation."""


def plan(*, quick: bool, peers: bool = True, only: str | None = None) -> Plan:
    """The usual one, or one that takes less than a minute and a half."""
    if quick:
        return Plan(1.0, 2, 3, False, 60, QUICK, peers, only)
    return Plan(3.0, 3, 7, True, 200, VARIANTS, peers, only)


def run(wanted: Plan, progress: Callable[[float, str], None]) -> dict[str, Any]:
    """Measure. Raises ``BenchError`` where the system does not allow it or a step of ours fails; a peer that fails is reported."""
    try:
        if os.geteuid() != 0:
            become_root_in_user_namespace()
        with ExitStack() as stack:
            return _Run(wanted, progress, open_stage(stack)).run()
    except NamespaceError as error:
        raise BenchError(str(error)) from error


@dataclass(frozen=True, slots=True)
class _Case:
    implementation: str
    transform: str
    up: Callable[[], AbstractContextManager[tuple[str, dict[str, Any]]]]
    ours: bool


class _Run:
    def __init__(self, wanted: Plan, progress: Callable[[float, str], None], stage: Stage) -> None:
        self._plan = wanted
        self._progress = progress
        self._stage = stage
        self._rows: list[dict[str, Any]] = []
        self._missing: dict[str, str] = {}
        self._serving = False  # not before it is our turn: a peer may want the ports of IKE

    def run(self) -> dict[str, Any]:
        cases = [case for case in self._cases() if self._chosen(case)]
        if not cases:
            raise BenchError(f"{self._plan.only!r} is no transform and no implementation of this benchmark")
        for number, case in enumerate(cases):
            self._progress(number / len(cases), f"{case.implementation} {case.transform}")
            try:
                self._measure(case)
            except BenchError as error:
                if case.ours:
                    raise
                self._missing[f"{case.implementation} {case.transform}"] = str(error)
        self._progress(1.0, "done")
        machine = {
            "processor": processor(),
            "processors": len(os.sched_getaffinity(0)),
            "system": f"{platform.system()} {platform.release()}",
            "load": round(os.getloadavg()[0], 2),
            "headrace": __version__,
            "level": cpu_level(),
            "peers": versions(),
            "missing": self._missing,
        }
        return {"machine": machine, "rows": self._rows, "bars": bars(self._rows)}

    def _chosen(self, case: _Case) -> bool:
        only = self._plan.only
        return only is None or only in {case.implementation, case.transform} or case.implementation == VETH.implementation

    def _cases(self) -> Iterator[_Case]:
        for rival in RIVALS:
            if not self._plan.peers and rival.package:
                continue
            if not rival.there():
                self._missing[rival.implementation] = f"not installed (apt-get install {rival.package})"
                continue
            yield _Case(rival.implementation, rival.transform, self._rival(rival.up), ours=False)
        for variant in self._plan.variants:
            yield _Case("headrace", variant.transform, self._dialler(variant), ours=True)

    def _rival(
        self, up: Callable[[Stage], AbstractContextManager[str]]
    ) -> Callable[[], AbstractContextManager[tuple[str, dict[str, Any]]]]:
        @contextmanager
        def opened() -> Iterator[tuple[str, dict[str, Any]]]:
            try:
                with up(self._stage) as address:
                    yield address, {}
            except (OSError, subprocess.SubprocessError) as error:
                raise BenchError(str(error)) from error

        return opened

    # --- ours -----------------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        directory = self._stage.directory
        for name, text in (
            ("gateway.toml", CONFIG),
            ("psk", "a key for the benchmark, twenty octets and more"),
            ("password", _PASSWORD),
        ):
            path = directory / name
            path.touch(mode=0o600)
            path.write_text(text, "utf-8")
        made = subprocess.run(
            [*_headrace(), "account", "add", _USER, "--password-file", "password", "--config", "gateway.toml"],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise BenchError(f"headrace account add: {made.stderr.strip()}")
        command = [*_headrace(), "serve", "--config", "gateway.toml"]
        gateway = self._stage.start("headrace-serve", self._stage.far, command, lambda said: "started headrace" in said)
        self._stage.stack.enter_context(gateway)
        self._serving = True

    def _dialler(self, variant: Variant) -> Callable[[], AbstractContextManager[tuple[str, dict[str, Any]]]]:
        @contextmanager
        def dialled() -> Iterator[tuple[str, dict[str, Any]]]:
            if not self._serving:
                self._serve()
            command = [
                *_headrace(),
                "dial",
                GATEWAY,
                "--user",
                _USER,
                "--password-file",
                "password",
                "--psk-file",
                "psk",
                "--json",
            ]
            with self._stage.start(
                "headrace-dial", self._stage.near, [*command, *variant.options], lambda said: '"connected"' in said
            ) as client:
                lines = client.log.read_text("utf-8").splitlines()
                told = [json.loads(line) for line in lines if line.startswith("{")]
                connected = next(item for item in told if item["event"] == "connected")
                yield INNER, {"mtu": connected["session"]["mtu"], "connected_after_s": connected["after"]}

        return dialled

    # --- figures --------------------------------------------------------------------------------------------------------------

    def _measure(self, case: _Case) -> None:
        wanted, stage = self._plan, self._stage
        with case.up() as (address, more):
            tcp = [stage.transfer(address, wanted.seconds) for _ in range(wanted.rounds)]
            idle = stage.latency(address, wanted.pings)
            with stage.load(address, 0.5 + wanted.pings * 0.005 + 1):
                busy = stage.latency(address, wanted.pings)
            udp = [stage.udp(address, SIZE, steps=wanted.udp_steps)] if self._sends_udp(case) else []
        latency = {
            "idle_us": round(idle.median, 1),
            "idle_min_us": round(idle.least, 1),
            "idle_p99_us": round(idle.worst, 1),
            "loaded_us": round(busy.median, 1),
            "loaded_p99_us": round(busy.worst, 1),
        }
        self._row(case, "tcp", tcp, more | latency)
        if udp:
            self._row(case, "udp", udp, {"loss": round(udp[0].loss, 6)})

    def _sends_udp(self, case: _Case) -> bool:
        return self._plan.udp_all or case.implementation in _PEERS or case.transform == GCM.transform

    def _row(self, case: _Case, direction: str, runs: list[Transfer], more: dict[str, Any]) -> None:
        rates = [run.gbit for run in runs]
        cpu = statistics.median(run.cpu for run in runs)
        self._rows.append(
            {
                "suite": "tunnel",
                "transform": case.transform,
                "direction": direction,
                "size": SIZE if direction == "udp" else "stream",
                "batch": 1,
                "implementation": case.implementation,
                "gbit_per_s": round(statistics.median(rates), 4),
                "min": round(min(rates), 4),
                "max": round(max(rates), 4),
                "gbit_per_cpu_s": round(1 / cpu, 4) if cpu else 0.0,
                **more,
            }
        )


def _headrace() -> list[str]:
    return [sys.executable, "-m", "headrace"]


# --- what is aimed at --------------------------------------------------------------------------------------------------------------

_PEERS: Final = ("openvpn", "wireguard-go", "strongswan-libipsec")


def _find(
    rows: list[dict[str, Any]], implementation: str, direction: str, transform: str | None = None
) -> dict[str, Any] | None:
    return next(
        (
            row
            for row in rows
            if row["implementation"] == implementation
            and row["direction"] == direction
            and (transform is None or row["transform"] == transform)
        ),
        None,
    )


def _ratio(what: str, ours: dict[str, Any] | None, theirs: dict[str, Any] | None, bar: float) -> dict[str, Any] | None:
    if ours is None or theirs is None or not theirs["gbit_per_s"]:
        return None
    value = ours["gbit_per_s"] / theirs["gbit_per_s"]
    return {"what": what, "value": round(value, 4), "bar": bar, "met": value >= bar}


def bars(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ratios between rows of one run that are aimed at, as far as both rows are there."""
    gso = _find(rows, "forwarder-gso", "tcp")
    mmsg = _find(rows, "forwarder", "tcp", "none, recvmmsg")
    swan = {name: _find(rows, "strongswan-libipsec", "tcp", name) for name in ("aes128gcm16", "aes128-sha1")}
    ours = {variant: _find(rows, "headrace", "tcp", variant.transform) for variant in VARIANTS}
    peers = [row for row in rows if row["implementation"] in _PEERS and row["direction"] == "udp"]
    best = max(peers, key=lambda row: float(row["gbit_per_s"]), default=None)
    found = [
        _ratio("TCP aes128gcm16 in UDP : forwarder-gso", ours[GCM], gso, 0.6),
        _ratio("TCP aes128gcm16 in UDP : strongswan-libipsec", ours[GCM], swan["aes128gcm16"], 5),
        _ratio("TCP aes128-sha1 in UDP : forwarder-gso", ours[CBC], gso, 0.5),
        _ratio("TCP aes128-sha1 in UDP : strongswan-libipsec", ours[CBC], swan["aes128-sha1"], 6),
        _ratio("TCP aes128-sha1 + MPPE-128 : forwarder-gso", ours[MPPE], gso, 0.3),
        _ratio("TCP aes128gcm16 raw ESP : forwarder, recvmmsg", ours[RAW], mmsg, 1.2),
        _ratio(f"UDP {SIZE} octets : {best['implementation'] if best else ''}", _find(rows, "headrace", "udp"), best, 2),
    ]
    cable, through = _find(rows, "veth", "tcp"), ours[GCM]
    if cable is not None and through is not None:
        added = (through["idle_us"] - cable["idle_us"]) / 2
        found.append(
            {"what": "idle latency added each way, microseconds", "value": round(added, 1), "bar": 60, "met": added < 60}
        )
    return [item for item in found if item is not None]
