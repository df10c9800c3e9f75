"""How many connections a second one gateway process takes in, what a session costs it in memory, and what its worker carries for many.

A gateway (``headrace serve``) runs in one network namespace; in another, one process plays all clients, every one with its own IKE, ESP,
L2TP and PPP, its own UDP ports (so that the gateway takes none for another that has come back), and its own inner address; all of them
over one data plane. Needs root, or a system that allows unprivileged user namespaces.

``connections_per_s`` is from the first dial to the last session, with so many calls at once; ``gateway_cpu_s`` is what the gateway's
process used of a processor for each connection: its inverse is what one core would take in if the clients cost nothing.

``gbit_per_s`` is what the gateway sends on the cable while a program behind it floods up to 100 of the connected clients with UDP by
turns, ``one_gbit_per_s`` the same for one of them in the same run: nobody answers, so it is the gateway's own work that is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import secrets
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from headrace.bench.machine import processor
from headrace.bench.native import BenchError
from headrace.dataplane import cpu_level
from headrace.dataplane.batch import Batch
from headrace.dataplane.native import NONE, STATUS, lib
from headrace.dataplane.tables import DataPlane, PeerConfig
from headrace.errors import HeadraceError, Slug
from headrace.ike.endpoint import IkeEndpoint
from headrace.model import Datagram, Encryption, Endpoint, Failure, Rung
from headrace.ppp.config import AuthMethod
from headrace.shell import build
from headrace.shell.config import DialConfig
from headrace.shell.netns import Namespace, NamespaceError, become_root_in_user_namespace, namespaces, veth
from headrace.shell.tables import EngineTables
from headrace.stack import events
from headrace.stack.ids import TunnelIds
from headrace.stack.lac import Lac
from headrace.stack.ladder import LadderConfig
from headrace.stack.timers import Timers
from headrace.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headrace.stack.tables import PeerEntry

GATEWAY: Final = "192.0.2.1"
CLIENT: Final = "192.0.2.2"
USER: Final = "load"
PASSWORD: Final = "a password for nobody but the load"  # noqa: S105 (of an account that lives as long as the run)
PSK: Final = "a key for the load, twenty octets and more"
FLOODED: Final = 100
"""Sessions that get traffic at most."""
_START: Final = 30.0
_MARKER: Final = bytes(4)
_GATEWAY_IKE: Final = Endpoint.of(GATEWAY, 500)
_GATEWAY_NATT: Final = Endpoint.of(GATEWAY, 4500)

CONFIG: Final = f"""\
[gateway]
name = "load"
listen = ["{GATEWAY}"]
state_dir = "state"
control_socket = "control.sock"
insecure_lab_mode = true

[ike]
psk_file = "psk"

[network]
address = "10.99.0.1"

[network.pools]
load = ["10.99.0.2-10.99.63.254"]

[limits]
max_peers = 16384
max_sessions = 16384

[accounts]
database = "accounts.db"
key_file = "accounts.key"
"""

RUNGS: Final = (Rung.IKE_AUTH, Rung.ESP, Rung.L2TP, Rung.LCP, Rung.USER_AUTH, Rung.NETWORK)


# --- the clients ------------------------------------------------------------------------------------------------------------------


class _Tables(EngineTables):
    """All clients share one data plane, which sends nothing by itself: the address they are at does not matter to it."""

    def _peer(self, entry: PeerEntry) -> PeerConfig:
        return PeerConfig(remote=entry.remote, udp_encap=entry.udp_encap, l2tp_port=entry.l2tp_port, cookie=entry.cookie)


@dataclass(slots=True)
class Caller:
    """One client."""

    number: int
    ladder: Lac
    ike: socket.socket
    natt: socket.socket
    dialled: float = 0.0
    up: events.SessionRecord | None = None
    failed: Failure | None = None

    @property
    def over(self) -> bool:
        """Whether it is known how the call went."""
        return self.up is not None or self.failed is not None


@dataclass(slots=True)
class _Outbox:
    """Control packets that wait for the data plane."""

    packets: list[bytes] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    peers: list[int] = field(default_factory=list)
    sessions: list[int] = field(default_factory=list)
    ports: list[tuple[int, int]] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)


class Load:
    """Many clients, one loop: sockets and data plane in, ladders, data plane and sockets out."""

    def __init__(self, count: int, plane: DataPlane) -> None:
        self.plane = plane
        tables, ids = _Tables(plane, []), TunnelIds(secrets.token_bytes)
        config = DialConfig(
            GATEWAY,
            USER,
            PASSWORD,
            psk=PSK.encode(),
            auth=(AuthMethod.MSCHAP_V2,),
            encryption=Encryption.OFF,
            force_encapsulation=True,
            remote_names=(GATEWAY,),
        )
        settings = LadderConfig(l2tp=build.client_l2tp(config), link=build.client_link(config), max_sessions=1)
        ike_config = build.client_ike(config)
        self._poll = select.epoll()
        self._by_fd: dict[int, tuple[Caller, bool]] = {}
        self._timers: Timers[int] = Timers()
        self._batch = Batch(lib.HR_BATCH_MAX, 2048)
        self._out = _Outbox()
        self.callers: list[Caller] = []
        for number in range(count):
            ike, natt = _socket(), _socket()
            endpoint = IkeEndpoint(
                ike_config,
                secrets.token_bytes,
                spi_free=tables.spi_free,
                ike_port=ike.getsockname()[1],
                natt_port=natt.getsockname()[1],
            )
            caller = Caller(number, Lac(endpoint, tables, settings, ids.allocator(), secrets.token_bytes), ike, natt)
            self.callers.append(caller)
            for sock, floated in ((ike, False), (natt, True)):
                self._by_fd[sock.fileno()] = (caller, floated)
                self._poll.register(sock.fileno(), select.EPOLLIN)

    def dial_all(self, at_once: int) -> float:
        """Dial everyone, at most so many at the same time; how long it took, in seconds."""
        began = time.monotonic()
        waiting = list(reversed(self.callers))
        calling: set[int] = set()
        while waiting or calling:
            while waiting and len(calling) < at_once:
                caller = waiting.pop()
                caller.dialled = time.monotonic()
                calling.add(caller.number)
                caller.ladder.dial(Endpoint.of(CLIENT, caller.ike.getsockname()[1]), _GATEWAY_IKE, caller.dialled)
                self._flush(caller)
            self._send()
            self._turn()
            calling = {number for number in calling if not self.callers[number].over}
        return time.monotonic() - began

    def stay(self, stop: int) -> None:
        """Keep everyone connected until something can be read from ``stop``."""
        self._poll.register(stop, select.EPOLLIN)
        while stop not in self._turn():
            pass
        self._poll.unregister(stop)

    def hang_up(self) -> None:
        """End all calls politely, as far as that goes in a few seconds."""
        for caller in self.callers:
            caller.ladder.close_all(Failure(Slug.USER_REQUEST, "hung up"), time.monotonic())
            self._flush(caller)
        self._send()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not all(caller.ladder.finished for caller in self.callers):
            self._turn()

    def _turn(self) -> set[int]:
        """Wait for something, and do it. What was readable and is none of ours."""
        now = time.monotonic()
        due = self._timers.next()
        ready = self._poll.poll(0.2 if due is None else max(0.0, min(0.2, due - now)))
        touched: dict[int, Caller] = {}
        wire: list[bytes] = []
        owners: list[Caller] = []
        others: set[int] = set()
        for fd, _ in ready:
            if fd not in self._by_fd:
                others.add(fd)
                continue
            caller, floated = self._by_fd[fd]
            sock = caller.natt if floated else caller.ike
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                while True:
                    data = sock.recv(2048)
                    if floated:
                        wire.append(data)
                        owners.append(caller)
                    else:
                        local = Endpoint.of(CLIENT, sock.getsockname()[1])
                        caller.ladder.ike_datagram(Datagram(local, _GATEWAY_IKE, data), time.monotonic())
                        touched[caller.number] = caller
        for start in range(0, len(wire), lib.HR_BATCH_MAX):
            self._decap(wire[start : start + lib.HR_BATCH_MAX], owners[start : start + lib.HR_BATCH_MAX], touched)
        now = time.monotonic()
        for number in self._timers.due(now):
            self.callers[number].ladder.tick(now)
            touched[number] = self.callers[number]
        for caller in touched.values():
            self._flush(caller)
        self._send()
        return others

    def _decap(self, wire: Sequence[bytes], owners: Sequence[Caller], touched: dict[int, Caller]) -> None:
        batch = self._batch
        batch.load(wire, lib.HR_KIND_UDP4500, remote=_GATEWAY_NATT)
        self.plane.decap(batch, time.monotonic_ns())
        now = time.monotonic()
        for index, caller in enumerate(owners):
            entry = batch.desc[index]
            status = STATUS[int(entry["status"])]
            data = batch.packet(index)
            if status == "exc_ike":
                local = Endpoint.of(CLIENT, caller.natt.getsockname()[1])
                caller.ladder.ike_datagram(Datagram(local, _GATEWAY_NATT, data), now)
            elif status == "exc_l2tp":
                ports = int(entry["l2tp_local_port"]), int(entry["l2tp_remote_port"])
                caller.ladder.l2tp_control(int(entry["peer"]), data, *ports, now)
            elif status == "exc_ppp":
                caller.ladder.ppp_frame(int(entry["session"]), data, now)
            touched[caller.number] = caller
        self.plane.events()

    def _flush(self, caller: Caller) -> None:
        """Take what a ladder has to tell and to send."""
        while happened := caller.ladder.poll_events():
            for event in happened:
                if isinstance(event, events.SessionUp):
                    caller.up = event.session
                elif isinstance(event, events.Refused) or (isinstance(event, events.PeerDown) and caller.up is None):
                    caller.failed = caller.failed or event.failure
        if caller.up is None and caller.ladder.outcome is not None:
            caller.failed = caller.failed or caller.ladder.outcome
        for datagram in caller.ladder.poll_datagrams():
            floated = datagram.local.port == caller.natt.getsockname()[1]
            sock = caller.natt if floated else caller.ike
            with contextlib.suppress(OSError):
                sock.sendto(_MARKER + datagram.data if floated else datagram.data, (GATEWAY, datagram.remote.port))
        for packet in caller.ladder.poll_packets():
            self._take(packet, caller)
        self._timers.set(caller.number, caller.ladder.deadline())

    def _take(self, packet: events.Packet, caller: Caller) -> None:
        out = self._out
        if isinstance(packet, (events.ReleaseSession, events.ReleasePeer)):
            self._send()
            with contextlib.suppress(HeadraceError):  # its peer went first and took it along
                if isinstance(packet, events.ReleaseSession):
                    self.plane.remove_session(packet.session)
                else:
                    self.plane.remove_peer(packet.peer)
            return
        l2tp = isinstance(packet, events.L2tpPacket)
        out.packets.append(packet.data)
        out.kinds.append(lib.HR_KIND_L2TP if l2tp else lib.HR_KIND_PPP)
        out.peers.append(packet.peer if isinstance(packet, events.L2tpPacket) else NONE)
        out.sessions.append(packet.session if isinstance(packet, events.PppPacket) else NONE)
        out.ports.append((packet.local_port, packet.remote_port) if isinstance(packet, events.L2tpPacket) else (0, 0))
        out.callers.append(caller)
        if len(out.packets) == lib.HR_BATCH_MAX:
            self._send()

    def _send(self) -> None:
        """Encapsulate what waits, and send it."""
        out, self._out = self._out, _Outbox()
        if not out.packets:
            return
        batch = self._batch
        batch.load(out.packets, lib.HR_KIND_PPP)
        desc = batch.desc[: len(out.packets)]
        desc["kind"], desc["peer"], desc["session"] = out.kinds, out.peers, out.sessions
        l2tp = np.array(out.kinds) == lib.HR_KIND_L2TP
        ports = np.array(out.ports, np.uint16)
        desc["l2tp_local_port"][l2tp], desc["l2tp_remote_port"][l2tp] = ports[l2tp, 0], ports[l2tp, 1]
        self.plane.encap(batch, time.monotonic_ns())
        for index, caller in enumerate(out.callers):
            if desc["status"][index] == lib.HR_OK:
                with contextlib.suppress(OSError):
                    caller.natt.sendto(batch.packet(index), (GATEWAY, 4500))


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((CLIENT, 0))
    sock.setblocking(False)
    return sock


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def play(count: int, at_once: int) -> None:
    """The load process: dial, say how it went, stay until told to hang up."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * count + 256), hard))
    with DataPlane(max_peers=count + 16, max_sas=4 * count + 64, max_sessions=count + 16) as plane:
        load = Load(count, plane)
        _say({"ready": True})
        sys.stdin.readline()
        seconds = load.dial_all(at_once)
        up = [caller for caller in load.callers if caller.up is not None]
        failures: dict[str, int] = {}
        for caller in load.callers:
            if caller.failed is not None:
                failures[str(caller.failed)] = failures.get(str(caller.failed), 0) + 1
        addresses = [str(caller.up.local_address) for caller in up[:FLOODED] if caller.up is not None]
        told = {"seconds": seconds, "connected": len(up), "failures": failures, "rungs": rungs(up), "addresses": addresses}
        _say(told)
        load.stay(sys.stdin.fileno())
        load.hang_up()


def rungs(callers: Sequence[Caller]) -> dict[str, dict[str, float]]:
    """Milliseconds on each rung, as the clients saw them: median and the slowest tenth."""
    spent: dict[str, list[float]] = {}
    for caller in callers:
        record = caller.up
        assert record is not None
        passed = {**record.peer.rungs, **record.rungs}
        before = caller.dialled
        for rung in RUNGS:
            if rung in passed:
                spent.setdefault(rung.name.lower(), []).append(passed[rung] - before)
                before = passed[rung]
        spent.setdefault("all", []).append(before - caller.dialled)
    return {
        name: {"median_ms": round(1000 * statistics.median(values), 2), "p90_ms": round(1000 * _tenth(values), 2)}
        for name, values in spent.items()
    }


def _tenth(values: Sequence[float]) -> float:
    return sorted(values)[len(values) * 9 // 10]


# --- the stage ----------------------------------------------------------------------------------------------------------------------


def measure(count: int, at_once: int) -> dict[str, Any]:
    """Set the stage, run it, and take it down. Raises ``NamespaceError``, ``RuntimeError``."""
    if os.geteuid() != 0:
        become_root_in_user_namespace()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-load-")))
        directory.chmod(0o700)
        gateway, client = stack.enter_context(namespaces("gateway", "client"))
        veth(gateway, "wan", client, "wan")
        gateway.address("wan", GATEWAY, 24)
        client.address("wan", CLIENT, 24)
        server = _serve(gateway, directory, stack)
        load = client.popen(
            [sys.executable, "-m", "headrace.bench.sessions", str(count), str(at_once)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        stack.callback(_end, load)
        _apart(server.pid, load.pid)
        assert load.stdin is not None
        assert load.stdout is not None
        _line(load)
        empty, cpu = _rss_kib(server.pid), _cpu_seconds(server.pid)
        load.stdin.write("go\n")
        load.stdin.flush()
        told = _line(load)
        cpu = _cpu_seconds(server.pid) - cpu
        time.sleep(1.0)
        full = _rss_kib(server.pid)
        addresses = told["addresses"]
        one = statistics.median(_flooded(gateway, client, addresses[:1], 1.0) for _ in range(3)) if addresses else 0.0
        many = statistics.median(_flooded(gateway, client, addresses, 1.0) for _ in range(3)) if addresses else 0.0
        load.stdin.write("stop\n")
        load.stdin.flush()
        load.wait(30)
        connected = int(told["connected"])
        if not connected:
            raise RuntimeError(
                f"nobody was connected: {told['failures']}; {(directory / 'gateway.log').read_text('utf-8')[-2000:]}"
            )
        return {
            "suite": "sessions",
            "sessions": count,
            "connected": connected,
            "failures": told["failures"],
            "at_once": at_once,
            "seconds": round(told["seconds"], 3),
            "connections_per_s": round(connected / told["seconds"], 1),
            "gateway_cpu_s": round(cpu / connected, 5),
            "rss_kib_empty": empty,
            "rss_kib_connected": full,
            "flooded": len(addresses),
            "one_gbit_per_s": round(one, 3),
            "gbit_per_s": round(many, 3),
            "rss_kib_per_session": round((full - empty) / connected, 1),
            "rungs": told["rungs"],
            "processors": len(os.sched_getaffinity(0)),
            "load_average": round(os.getloadavg()[0], 2),
        }


def _serve(gateway: Namespace, directory: Path, stack: ExitStack) -> subprocess.Popen[Any]:
    for name, text in (("gateway.toml", CONFIG), ("psk", PSK), ("password", PASSWORD)):
        path = directory / name
        path.touch(mode=0o600)
        path.write_text(text, "utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    headrace = [sys.executable, "-m", "headrace"]
    add = [*headrace, "account", "add", USER, "--password-file", "password", "--config", "gateway.toml"]
    subprocess.run(add, cwd=directory, check=True, capture_output=True, env=environment)
    log = directory / "gateway.log"
    with log.open("wb") as out:
        process = gateway.popen(
            [*headrace, "serve", "--config", "gateway.toml"], cwd=directory, stdout=out, stderr=out, env=environment
        )
    stack.callback(_end, process)
    deadline = time.monotonic() + _START
    while b"started headrace" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the gateway did not start: {log.read_text('utf-8')}")
        time.sleep(0.05)
    return process


def _line(process: subprocess.Popen[Any]) -> dict[str, Any]:
    assert process.stdout is not None
    text = process.stdout.readline()
    if not text:
        raise RuntimeError("the clients' process ended early")
    told: dict[str, Any] = json.loads(text)
    return told


def _apart(server: int, load: int) -> None:
    """A processor for the gateway, the others for the clients."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        for pid, mine in ((server, {cores[0]}), (load, set(cores[1:]))):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), mine)


def _rss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} has no VmRSS")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(wanted: Sequence[int], at_once: int, progress: Callable[[float, str], None]) -> dict[str, Any]:
    """Measure with each number of sessions. Raises ``BenchError``."""
    rows = []
    for index, count in enumerate(wanted):
        progress(index / len(wanted), f"{count} sessions")
        try:
            rows.append(measure(count, at_once))
        except (NamespaceError, PermissionError) as error:
            raise BenchError(f"namespaces need root: {error}") from error
        except (RuntimeError, HeadraceError, OSError, subprocess.SubprocessError) as error:
            raise BenchError(str(error)) from error
    progress(1.0, "done")
    machine = {
        "processor": processor(),
        "processors": len(os.sched_getaffinity(0)),
        "headrace": __version__,
        "level": cpu_level(),
    }
    return {"machine": machine, "rows": rows, "bars": bars(rows)}


def bars(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is aimed at with the most sessions of the run."""
    if not rows:
        return []
    row = max(rows, key=lambda one: int(one["sessions"]))
    share = row["gbit_per_s"] / row["one_gbit_per_s"] if row["one_gbit_per_s"] else 0.0
    count = f"{row['connected']} sessions"
    memory = row["rss_kib_per_session"]
    return [
        {"what": f"{count}, traffic for {row['flooded']} : for one", "value": round(share, 3), "bar": 0.8, "met": share >= 0.8},
        {"what": f"{count}, KiB each", "value": memory, "bar": 40, "met": memory < 40},
    ]


COLUMNS: Final = ("sessions", "connected", "a second", "CPU ms each", "KiB each", "one, Gbit/s", "many, Gbit/s")
RIGHT: Final = (0, 1, 2, 3, 4, 5, 6)


def table(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Cells for the columns above."""
    return [
        (
            str(row["sessions"]),
            str(row["connected"]),
            f"{row['connections_per_s']:.0f}",
            f"{1000 * row['gateway_cpu_s']:.1f}",
            f"{row['rss_kib_per_session']:.1f}",
            f"{row['one_gbit_per_s']:.2f}",
            f"{row['gbit_per_s']:.2f}",
        )
        for row in figures["rows"]
    ]


def heading(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a person wants to know about the machine."""
    machine = figures["machine"]
    return [
        ("processor", f"{machine['processor']}, {machine['processors']} of them"),
        ("headrace", f"{machine['headrace']}, level {machine['level']}"),
    ]


# --- traffic ------------------------------------------------------------------------------------------------------------------------

_FLOOD: Final = """\
import json, socket, sys, time
seconds, addresses = float(sys.argv[1]), sys.argv[2:]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
sock.setsockopt(17, 103, 1300)
data, until, turn = bytes(40 * 1300), time.monotonic() + seconds, 0
while time.monotonic() < until:
    for _ in range(32):
        try:
            sock.sendto(data, (addresses[turn % len(addresses)], 9))
        except OSError:
            pass
        turn += 1
"""


def _flooded(gateway: Namespace, client: Namespace, addresses: Sequence[str], seconds: float) -> float:
    """Gigabits a second that arrive on the cable while these are flooded."""
    before = _arrived(client)
    began = time.monotonic()
    gateway.run([sys.executable, "-c", _FLOOD, str(seconds), *addresses], timeout=seconds + 30)
    return (_arrived(client) - before) * 8 / (time.monotonic() - began) / 1e9


def _arrived(client: Namespace) -> int:
    for line in client.run(["cat", "/proc/net/dev"]).stdout.splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "wan":
            return int(numbers.split()[0])
    raise RuntimeError("the cable is gone")


def main() -> int:
    """Be the clients."""
    play(int(sys.argv[1]), int(sys.argv[2]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
