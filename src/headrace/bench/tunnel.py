"""TCP through a whole tunnel: `headrace serve` and `headrace dial` in two network namespaces, beside the bare cable between them.

Both ends, the sender and the receiver share this machine's processors, so the figure is what all of them do together; the bare cable,
measured before and after each tunnel in the same run, says what of it the machine takes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace.bench.machine import processor
from headrace.bench.native import BenchError
from headrace.dataplane import cpu_level
from headrace.shell.netns import Namespace, NamespaceError, become_root_in_user_namespace, namespaces, veth
from headrace.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

GATEWAY: Final = "192.0.2.1"
CLIENT: Final = "192.0.2.2"
INNER: Final = "10.99.0.1"
_USER: Final = "bench"
_PASSWORD: Final = "a password for nobody but the benchmark"  # noqa: S105 (of an account that lives as long as the run)
_PORT: Final = 5201
_START: Final = 30.0

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
proposals = ["aes256gcm16", "aes128-sha1"]

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
    """One way of protecting the tunnel."""

    esp: str
    udp: bool
    mppe: bool

    @property
    def options(self) -> list[str]:
        """For ``headrace dial``."""
        encapsulation = ["--force-encapsulation"] if self.udp else []
        return ["--esp-proposal", self.esp, "--encryption", "required-128" if self.mppe else "off", *encapsulation]

    @property
    def label(self) -> str:
        """For a person."""
        return f"{self.esp}, {'UDP 4500' if self.udp else 'raw ESP'}{', MPPE-128' if self.mppe else ''}"


VARIANTS: Final = tuple(
    Variant(esp, udp, mppe)
    for mppe in (False, True)
    for esp, udp in (("aes256gcm16", True), ("aes128-sha1", True), ("aes128-sha1", False))
)


def run(seconds: float, progress: Callable[[float, str], None], *, variants: tuple[Variant, ...] = VARIANTS) -> dict[str, Any]:
    """Measure; ``seconds`` for each transfer. Raises ``BenchError`` where the system does not allow it or a step fails."""
    try:
        if os.geteuid() != 0:
            become_root_in_user_namespace()
        with ExitStack() as stack:
            return _Run(seconds, progress, stack).run(variants)
    except NamespaceError as error:
        raise BenchError(str(error)) from error


class _Run:
    def __init__(self, seconds: float, progress: Callable[[float, str], None], stack: ExitStack) -> None:
        self._seconds = seconds
        self._progress = progress
        self._stack = stack
        self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-bench-")))
        self._directory.chmod(0o700)
        self._gateway, self._client = stack.enter_context(namespaces("gateway", "client"))
        veth(self._gateway, "wan", self._client, "wan")
        self._gateway.address("wan", GATEWAY, 24)
        self._client.address("wan", CLIENT, 24)

    def run(self, variants: tuple[Variant, ...]) -> dict[str, Any]:
        self._progress(0.0, "starting a gateway")
        self._serve()
        rows: list[dict[str, Any]] = []
        for number, variant in enumerate(variants):
            self._progress(number / len(variants), variant.label)
            rows.append(self._measure(variant))
        self._progress(1.0, "done")
        machine = {
            "processor": processor(),
            "processors": len(os.sched_getaffinity(0)),
            "load": round(os.getloadavg()[0], 2),
            "headrace": __version__,
            "level": cpu_level(),
            "tool": "iperf3" if _iperf3() else "headrace.demo.traffic",
        }
        return {"machine": machine, "rows": rows}

    def _serve(self) -> None:
        for name, text in (
            ("gateway.toml", CONFIG),
            ("psk", "a key for the benchmark, twenty octets and more"),
            ("password", _PASSWORD),
        ):
            path = self._directory / name
            path.touch(mode=0o600)
            path.write_text(text, "utf-8")
        made = subprocess.run(
            [*_headrace(), "account", "add", _USER, "--password-file", "password", "--config", "gateway.toml"],
            cwd=self._directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise BenchError(f"headrace account add: {made.stderr.strip()}")
        log = self._directory / "gateway.log"
        with log.open("wb") as out:
            process = self._gateway.popen(
                [*_headrace(), "serve", "--config", "gateway.toml"], cwd=self._directory, stdout=out, stderr=out
            )
        self._stack.callback(_end, process)
        _wait("headrace serve", lambda: b"started headrace" in log.read_bytes(), process, log)

    @contextmanager
    def _dialled(self, variant: Variant) -> Iterator[dict[str, Any]]:
        lines, complaints = self._directory / "dial.jsonl", self._directory / "dial.err"
        command = [*_headrace(), "dial", GATEWAY, "--user", _USER, "--password-file", "password", "--psk-file", "psk", "--json"]
        with lines.open("wb") as out, complaints.open("wb") as err:
            process = self._client.popen([*command, *variant.options], cwd=self._directory, stdout=out, stderr=err)
        try:
            _wait("headrace dial", lambda: b'"connected"' in lines.read_bytes(), process, complaints)
            told = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
            yield next(item for item in told if item["event"] == "connected")
        finally:
            _end(process)

    def _measure(self, variant: Variant) -> dict[str, Any]:
        with self._dialled(variant) as connected:
            bare = [self._transfer(GATEWAY, min(2.0, self._seconds))]
            tunnel = [self._transfer(INNER, self._seconds / 3) for _ in range(3)]
            bare.append(self._transfer(GATEWAY, min(2.0, self._seconds)))
        session = connected["session"]
        through, cable = statistics.median(tunnel), statistics.median(bare)
        return {
            "suite": "tunnel",
            "transform": variant.esp,
            "encapsulation": "udp4500" if variant.udp else "esp",
            "mppe": session["mppe"] or None,
            "mtu": session["mtu"],
            "gbit_per_s": round(through, 4),
            "min": round(min(tunnel), 4),
            "max": round(max(tunnel), 4),
            "bare_gbit_per_s": round(cable, 4),
            "ratio": round(through / cable, 4),
            "connected_after_s": connected["after"],
        }

    def _transfer(self, address: str, seconds: float) -> float:
        """Gigabits a second of TCP from the client to the gateway."""
        try:
            measured = _iperf(self._gateway, self._client, address, seconds) if _iperf3() else self._own(address, seconds)
        except (subprocess.SubprocessError, ValueError, KeyError, OSError) as error:
            raise BenchError(f"the transfer to {address} did not work: {error}") from error
        return measured / 1e9

    def _own(self, address: str, seconds: float) -> float:
        command = [sys.executable, "-m", "headrace.demo.traffic"]
        with self._gateway.popen([*command, "sink", address, str(_PORT)], stdout=subprocess.PIPE, text=True) as sink:
            assert sink.stdout is not None
            try:
                sink.stdout.readline()
                self._client.run([*command, "source", address, str(_PORT), str(seconds)], timeout=seconds + 20)
                said = json.loads(sink.stdout.readline())
            finally:
                _end(sink)
        return float(said["bytes"]) * 8 / float(said["seconds"])


def _iperf3() -> bool:
    return shutil.which("iperf3") is not None


def _iperf(server: Namespace, client: Namespace, address: str, seconds: float) -> float:
    command = ["iperf3", "--server", "--one-off", "--bind", address, "--port", str(_PORT)]
    with server.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sink:
        try:
            for attempt in range(40):  # it says nowhere that it listens
                time.sleep(0.05)
                done = client.run(
                    ["iperf3", "--client", address, "--port", str(_PORT), "--time", f"{max(1, round(seconds))}", "--json"],
                    timeout=seconds + 30,
                    check=False,
                )
                said = json.loads(done.stdout)
                if "end" in said and "sum_received" in said["end"]:
                    return float(said["end"]["sum_received"]["bits_per_second"])
                if attempt == 39 or "refused" not in said.get("error", ""):
                    raise BenchError(f"iperf3: {said.get('error', done.stderr.strip())}")
        finally:
            _end(sink)
    raise BenchError("iperf3 did not come up")


def _headrace() -> list[str]:
    return [sys.executable, "-m", "headrace"]


def _wait(what: str, ready: Callable[[], bool], process: subprocess.Popen[Any], log: Path) -> None:
    deadline = time.monotonic() + _START
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{what} is not ready: {log.read_text('utf-8').strip()}")


def _end(process: subprocess.Popen[Any]) -> None:
    """Ask, then insist."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


COLUMNS: Final = ("ESP", "in", "MPPE", "Gbit/s", "min", "max", "bare cable", "of it", "MTU")
RIGHT: Final = (3, 4, 5, 6, 7, 8)


def table(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Cells for the columns above."""
    return [
        (
            row["transform"],
            "UDP 4500" if row["encapsulation"] == "udp4500" else "IP 50",
            row["mppe"] or "none",
            *(f"{row[name]:.2f}" for name in ("gbit_per_s", "min", "max", "bare_gbit_per_s")),
            f"{100 * row['ratio']:.0f} %",
            str(row["mtu"]),
        )
        for row in figures["rows"]
    ]


def heading(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a person wants to know about the machine."""
    machine = figures["machine"]
    return [
        ("processor", f"{machine['processor']}, {machine['processors']} of them, load {machine['load']}"),
        ("headrace", f"{machine['headrace']}, level {machine['level']}"),
        ("tool", f"{machine['tool']}, one TCP connection from client to gateway"),
    ]
