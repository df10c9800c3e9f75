"""Where tunnels are measured: two network namespaces on a cable, iperf3 and ping between them, and the whole machine's processor time."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from headrace.bench.native import BenchError
from headrace.shell.netns import namespaces, veth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from headrace.shell.netns import Namespace

GATEWAY: Final = "192.0.2.1"
CLIENT: Final = "192.0.2.2"
_PORT: Final = 5201
_START: Final = 30.0
_TICK: Final = os.sysconf("SC_CLK_TCK")
_LOSS: Final = 0.001
"""What a rate of UDP may lose and still count."""
_BUFFER: Final = 4 << 20
"""Of the UDP sockets of iperf3, octets."""
_HEADERS: Final = 28
"""IPv4 and UDP."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One run of iperf3."""

    gbit: float
    """Gigabits a second that arrived."""
    cpu: float
    """Seconds of processor time that the whole machine used, for each gigabit."""
    loss: float = 0.0
    """Of UDP: the part that did not arrive."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Round trips in microseconds."""

    median: float
    least: float
    worst: float
    """The slowest hundredth begins here."""


@dataclass(slots=True)
class Stage:
    """Both namespaces; ``near`` is where the clients are, ``far`` where the servers are."""

    far: Namespace
    near: Namespace
    directory: Path
    stack: ExitStack
    sinks: list[subprocess.Popen[Any]] = field(default_factory=list)

    def transfer(self, address: str, seconds: float, *options: str) -> Transfer:
        """Send from near to an address in far. Raises ``BenchError``."""
        command = [
            "iperf3",
            "--client",
            address,
            "--port",
            str(_PORT),
            "--time",
            f"{max(1, round(seconds))}",
            "--json",
            *options,
        ]
        before = machine_seconds()
        said = self._iperf(address, command, seconds)
        spent = machine_seconds() - before
        total = said["end"].get("sum_received") or said["end"]["sum"]
        if "udp" in str(said["start"]["test_start"].get("protocol", "")).lower():
            total = said["end"]["sum"]
            lost = float(total["lost_percent"]) / 100
            gbit = float(total["bytes"]) * 8 * (1 - lost) / float(total["seconds"]) / 1e9
        else:
            lost, gbit = 0.0, float(total["bits_per_second"]) / 1e9
        carried = gbit * float(total["seconds"])
        return Transfer(gbit, spent / carried if carried else 0.0, lost)

    def _iperf(self, address: str, command: list[str], seconds: float) -> dict[str, Any]:
        server = ["iperf3", "--server", "--one-off", "--bind", address, "--port", str(_PORT)]
        with self.far.popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sink:
            try:
                for _ in range(40):  # it says nowhere that it listens
                    time.sleep(0.05)
                    done = self.near.run(command, timeout=seconds + 30, check=False)
                    said: dict[str, Any] = json.loads(done.stdout)
                    if "end" in said and "streams" in said["end"]:
                        return said
                    if "refused" not in said.get("error", ""):
                        break
            except (subprocess.SubprocessError, ValueError, OSError) as error:
                raise BenchError(f"iperf3 to {address}: {error}") from error
            finally:
                end(sink)
        raise BenchError(f"iperf3 to {address}: {said.get('error', done.stderr.strip())}")

    def udp(self, address: str, size: int, *, steps: int) -> Transfer:
        """Look for the highest rate of UDP, in IP packets of ``size`` octets, of which at least 999 in 1,000 arrive."""
        options = ("--udp", "--length", str(size - _HEADERS), "--window", str(_BUFFER // 2), "--bitrate")
        flood = self.transfer(address, 1, *options, "0")
        best = flood if flood.loss <= _LOSS else Transfer(0.0, 0.0, 1.0)
        low, high = 0.0, flood.gbit
        for _ in range(0 if best is flood else steps):
            rate = 0.75 * high if not low else (low + high) / 2
            tried = self.transfer(address, 1, *options, f"{rate * 1e9:.0f}")
            if tried.loss <= _LOSS:
                best, low = max(best, tried, key=lambda one: one.gbit), rate
            else:
                high = rate
        return best

    def latency(self, address: str, count: int) -> Latency:
        """Round trips of small packets, 200 a second."""
        done = self.near.run(["ping", "-n", "-c", str(count), "-i", "0.005", "-s", "56", address], timeout=30, check=False)
        times = sorted(1000 * float(text) for text in re.findall(r"time=([0-9.]+) ms", done.stdout))
        if len(times) < count // 2:
            raise BenchError(f"ping to {address}: {len(times)} of {count} answers")
        return Latency(statistics.median(times), times[0], times[len(times) * 99 // 100])

    @contextmanager
    def load(self, address: str, seconds: float) -> Iterator[None]:
        """A TCP transfer meanwhile."""
        server = ["iperf3", "--server", "--one-off", "--bind", address, "--port", str(_PORT + 1)]
        client = ["iperf3", "--client", address, "--port", str(_PORT + 1), "--time", str(round(seconds))]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with self.far.popen(server, **quiet) as sink:
            time.sleep(0.1)
            with self.near.popen(client, **quiet) as source:
                time.sleep(0.3)
                try:
                    yield
                finally:
                    end(source)
                    end(sink)

    def start(self, name: str, where: Namespace, command: list[str], ready: Callable[[str], bool], **kwargs: Any) -> Process:
        """Start a program and wait until what it printed says that it is ready. Raises ``BenchError``."""
        log = self.directory / f"{name}.log"
        with log.open("wb") as out:
            process = where.popen(command, stdout=out, stderr=out, cwd=self.directory, **kwargs)
        started = Process(name, process, log)
        started.wait(lambda: ready(log.read_text("utf-8", "replace")))
        return started


@dataclass(slots=True)
class Process:
    """A program that runs; a context manager that ends it."""

    name: str
    process: subprocess.Popen[Any]
    log: Path

    def wait(self, ready: Callable[[], bool]) -> None:
        """Until ``ready``. Raises ``BenchError`` if it ends before, or takes too long."""
        deadline = time.monotonic() + _START
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text("utf-8", "replace").strip()[-600:]
                end(self.process)
                raise BenchError(f"{self.name} is not ready: {said}")
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self.process)


def open_stage(stack: ExitStack) -> Stage:
    """Make it; all of it goes with the stack. Raises ``NamespaceError``, ``BenchError`` if iperf3 is missing."""
    for tool, package in (("iperf3", "iperf3"), ("ping", "iputils-ping")):
        if shutil.which(tool) is None:
            raise BenchError(f"{tool} is missing: on Debian or Ubuntu, apt-get install {package}")
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-bench-")))
    directory.chmod(0o700)
    far, near = stack.enter_context(namespaces("far", "near"))
    veth(far, "wan", near, "wan")
    far.address("wan", GATEWAY, 24)
    near.address("wan", CLIENT, 24)
    stack.enter_context(_large_buffers(far, near))
    return Stage(far, near, directory, stack)


@contextmanager
def _large_buffers(*places: Namespace) -> Iterator[None]:
    """Let iperf3 have receive buffers that hold a few milliseconds of UDP; the system's own limit is put back afterwards."""
    limits = [Path(f"/proc/sys/net/core/{name}") for name in ("rmem_max", "wmem_max")]
    before = [limit.read_text("ascii") for limit in limits if limit.exists()]
    try:
        for limit in limits:
            for place in places:  # newer kernels have one for each namespace
                with suppress(OSError, subprocess.SubprocessError):
                    place.sysctl(f"net.core.{limit.name}", str(_BUFFER))
            with suppress(OSError):
                if int(limit.read_text("ascii")) < _BUFFER:
                    limit.write_text(str(_BUFFER), "ascii")
        yield
    finally:
        for limit, text in zip(limits, before, strict=False):
            with suppress(OSError):
                limit.write_text(text, "ascii")


def machine_seconds() -> float:
    """Processor time that the whole machine has spent on anything, in seconds."""
    line = Path("/proc/stat").read_text("ascii").partition("\n")[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, *_ = (int(word) for word in line)
    return (user + nice + system + irq + softirq) / _TICK


def end(process: subprocess.Popen[Any]) -> None:
    """Ask, then insist."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
