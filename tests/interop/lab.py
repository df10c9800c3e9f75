"""The laboratory: our side in a namespace, the guest behind a tap of it, and one ``Scenario`` for each test.

Our side is driven as a person would: by ``headrace serve``, ``dial``, ``sessions`` and so on, with a configuration file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

from tests.interop.guest import CLIENT, GUEST_IP, OUR_IP, PASSWORD, PSK, SERVER, USER, Guest, Job, Outcome, make_tap
from tests.interop.tshark import Capture
from tests.shell.site import masquerade

from headrace.shell.netns import Namespace, veth

TAP: Final = "tap0"
INNER_IP: Final = "10.99.0.1"
"""The inner address of the server, whoever that is."""
SLACK: Final = 90.0
"""Seconds that something may take which takes one or two: the machine may be busy."""

_NUMBER: Final = r"(?P<ras>\d+) (?P<slug>[a-z0-9-]+)"


def headrace(*arguments: str | Path, launcher: Path | None = None) -> list[str]:
    """The command line of our program, as installed beside this interpreter."""
    start = [str(launcher)] if launcher is not None else ["-m", "headrace"]
    return [sys.executable, *start, *map(str, arguments)]


def wait_for(condition: Callable[[], Any], what: str, timeout: float = SLACK) -> Any:
    """Wait until something is so, and give it. Raises ``AssertionError`` when the time is over."""
    end = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {timeout:g} s")
        time.sleep(0.05)
    return found


def secret_file(path: Path, text: str) -> Path:
    """A file that only its owner reads, as our program demands."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Sections of plain values as TOML; JSON's texts, numbers and lists are TOML's, too."""
    lines = []
    for name, values in sections.items():
        tables = {key: value for key, value in values.items() if isinstance(value, dict)}
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items() if key not in tables), ""]
        for key, table in tables.items():
            lines += [f"[{name}.{key}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items()), ""]
    return "\n".join(lines)


def end(process: subprocess.Popen[Any], how: signal.Signals = signal.SIGINT, timeout: float = SLACK) -> int:
    """End a process of ours and give its exit code."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return int(process.returncode)


@dataclass(frozen=True)
class Line:
    """A line of the gateway's log, and what was found in it."""

    text: str
    found: Mapping[str, str]

    def __getattr__(self, name: str) -> str:
        try:
            return self.found[name]
        except KeyError:
            raise AttributeError(name) from None

    def __str__(self) -> str:
        return self.text


class Gateway:
    """``headrace serve`` in the laboratory's namespace."""

    def __init__(self, scenario: Scenario, config: Path, launcher: Path | None) -> None:
        self._scenario = scenario
        self._config = config
        self._log = scenario.folder / "gateway.log"
        with self._log.open("wb") as log:
            command = headrace("serve", "--config", config, launcher=launcher)
            self._process = scenario.lab.namespace.popen(command, stdout=log, stderr=log)
        try:
            wait_for(lambda: self._process.poll() is not None or " started headrace" in self.log(), "the start of the gateway")
            assert self._process.poll() is None, self.log()
        except BaseException:
            end(self._process, signal.SIGKILL)
            raise

    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def lines(self, pattern: str) -> list[Line]:
        """The lines of the log in which a pattern is found."""
        found = ((line, re.search(pattern, line)) for line in self.log().splitlines())
        return [Line(line[17:], {k: v or "" for k, v in match.groupdict().items()}) for line, match in found if match]

    def wait_line(self, pattern: str, timeout: float = SLACK) -> Line:
        """The first line in which a pattern is found."""
        first: Line = wait_for(lambda: self.lines(pattern), f"a line with {pattern!r} in the log", timeout)[0]
        return first

    def session_up(self) -> Line:
        """The line that a user is up."""
        line = self.wait_line(
            r"session-up (?P<user>\S+) (?P<inner>\S+) from (?P<outer>\S+): (?P<machine>\w+), (?P<auth>.+?), esp (?P<esp>.+?), "
            r"mppe (?P<mppe>.+?), mtu (?P<mtu>\d+)(, (?P<took>[\d.]+) s)?"
        )
        self._scenario.note = line.text
        return line

    def session_down(self) -> Line:
        """The line that a user is gone."""
        return self.wait_line(
            rf"session-down (?P<user>\S+) (?P<inner>\S+) from (?P<outer>\S+): ({_NUMBER}|(?P<normal>[a-z-]+))(: (?P<detail>.+?))? "
            r"\(by (?P<who>the client|us)\)"
        )

    def refused(self) -> Line:
        """The line that somebody was not let in."""
        line = self.wait_line(
            rf"refused (?P<address>\S+)( user (?P<user>\S+))?: {_NUMBER} \((?P<rung>[a-z0-9-]+)\)(: (?P<detail>.*?))?; remedy: "
        )
        self._scenario.note = line.text.partition("; remedy")[0]
        return line

    def ask(self, *arguments: str) -> Any:
        """A command that looks into the running gateway, with ``--json``."""
        done = self._scenario.lab.run(*arguments, "--config", self._config, "--json")
        return json.loads(done.stdout)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Any other command about this gateway."""
        return self._scenario.lab.run(*arguments, "--config", self._config)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """End it as Ctrl-C does; it must end well and have nothing to be ashamed of in its log."""
        if not self.running and self._process.returncode == 0:
            return
        code = end(self._process)
        text = self.log()
        assert code == 0, f"headrace serve ended with {code}:\n{text[-2000:]}"
        assert "Traceback" not in text and not re.search(r"^\S+ error ", text, re.MULTILINE), text[-2000:]

    def kill(self) -> None:
        end(self._process, signal.SIGKILL)


@dataclass(frozen=True)
class Dialled:
    """What ``headrace dial --json`` said."""

    code: int
    events: tuple[dict[str, Any], ...]
    stderr: str

    def event(self, name: str) -> dict[str, Any]:
        """The first event of a kind."""
        found = next((event for event in self.events if event.get("event") == name), None)
        assert found is not None, f"no {name} in {[event.get('event') for event in self.events]}\n{self.stderr}"
        return found

    def __str__(self) -> str:
        return f"exit {self.code}\n{self.stderr}"


class Scenario:
    """One test: its folder, its capture, its processes, and the line that tells its result."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name
        self.folder = lab.results / name
        self.note = ""
        """One line for the table of results."""
        self.keys = self.folder / "keys"
        self.garbled = False
        """What the guest sent cannot be opened with our keys, by intention."""
        self._gateway: Gateway | None = None
        self._jobs: list[Job] = []
        self._cleanup = ExitStack()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._pcap = self.folder / "wire.pcap"

    @cached_property
    def capture(self) -> Capture:
        """What was seen on the wire, with our keys. Ends the recording: ask for it last."""
        self._stop_recording()
        return Capture(self._pcap, self.keys)

    def __enter__(self) -> Self:
        self._stop_recording = self.lab.record(self._pcap)
        self._cleanup.callback(self._stop_recording)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._cleanup:
            for job in self._jobs:
                job.tell("stop")
                job.tell("go")
            if self._gateway is None:
                return
            if kind is None:
                self._gateway.stop()
            else:
                self._gateway.kill()

    # --- our side as the gateway -------------------------------------------------------------------------------------------

    def gateway(self, *, launcher: Path | None = None, **sections: Mapping[str, Any]) -> Gateway:
        """Start a gateway. ``sections`` go on top of a small working configuration; a value of ``None`` takes a key out."""
        base: dict[str, dict[str, Any]] = {
            "gateway": {
                "listen": [OUR_IP],
                "state_dir": str(self.lab.state),
                "control_socket": str(self.lab.state / "control.sock"),
                "workers": 1,
            },
            "log": {"level": "debug", "keylog_dir": "keys"},
            "ike": {"psk_file": str(secret_file(self.folder / "psk", PSK))},
            "esp": {},
            "l2tp": {},
            "ppp": {},
            "eap": {},
            "network": {"address": INNER_IP, "dns": ["10.99.0.2"], "pools": {"clients": ["10.99.0.10-10.99.0.250"]}},
            "accounts": {"database": str(self.lab.accounts), "key_file": str(self.lab.accounts.with_suffix(".key"))},
        }
        for name, values in sections.items():
            merged = {**base[name], **values}
            base[name] = {key: value for key, value in merged.items() if value is not None}
        config = self.folder / "gateway.toml"
        config.write_text(toml({name: values for name, values in base.items() if values}))
        self._gateway = Gateway(self, config, launcher)
        return self._gateway

    def client(self, *, timeout: float = 240, pki: Path | None = None, **parameters: str) -> Outcome:
        """Let the guest dial, to its end. Its result is the note, until something better is known."""
        outcome = self.start(CLIENT, pki=pki, **parameters).wait(timeout)
        self.note = self.note or f"guest: {outcome.line}"
        return outcome

    # --- our side as the client --------------------------------------------------------------------------------------------

    @contextmanager
    def server(self, *, pki: Path | None = None, **parameters: str) -> Iterator[Job]:
        """A server in the guest, listening."""
        job = self.start(SERVER, pki=pki, **parameters)
        job.await_mark("server.ready")
        yield job
        job.tell("stop")
        self.outcome = job.wait()

    def dial(self, *options: str | Path, wait: float = 120, **how: Any) -> Dialled:
        """``headrace dial`` to the guest, to its end; ``how`` as for ``dialling``."""
        with self.dialling(*options, **how) as process:
            process.wait(wait)
        return self.dialled

    @contextmanager
    def dialling(
        self,
        *options: str | Path,
        password: str = PASSWORD,
        psk: str | None = PSK,
        ping: bool = True,
        launcher: Path | None = None,
        namespace: Namespace | None = None,
    ) -> Iterator[subprocess.Popen[Any]]:
        """``headrace dial`` to the guest while the block runs, ended by Ctrl-C; ``dialled`` has what it said.

        ``namespace`` is where the client stands, if not on the guest's network.
        """
        command = headrace("dial", GUEST_IP, "--user", USER, "--json", "--keylog", self.keys, launcher=launcher)
        command += ["--ping", INNER_IP] if ping else []
        if psk is not None:
            command += ["--psk-file", str(secret_file(self.folder / "psk", psk))]
        command += ["--password-file", str(secret_file(self.folder / "password", password)), *map(str, options)]
        (self.folder / "dial.command").write_text(" ".join(command) + "\n")
        out, err = self.folder / "dial.json", self.folder / "dial.log"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = (namespace or self.lab.namespace).popen(command, stdout=stdout, stderr=stderr)
            try:
                yield process
            finally:
                end(process)
                events = (json.loads(line) for line in out.read_text().splitlines() if line.startswith("{"))
                self.dialled = Dialled(process.returncode, tuple(events), err.read_text("utf-8", "replace"))
        lines = self.dialled.stderr.splitlines()
        said = [line for line in lines if line.startswith("error ")] or [
            f"connected, mppe {event['session']['mppe'] or 'none'}, esp {event['session']['esp']}, {event['session']['user_auth']}"
            for event in self.dialled.events
            if event.get("event") == "connected"
        ]
        self.note = said[0] if said else f"exit {self.dialled.code}"

    def await_event(self, process: subprocess.Popen[Any], name: str, times: int = 1) -> dict[str, Any]:
        """Wait until the call has told of something, for so many times, and give what it said last.

        Raises ``AssertionError`` if the call ends before.
        """
        path = self.folder / "dial.json"

        def told() -> list[dict[str, Any]]:
            # The last line may be half written.
            events = (json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n"))
            return [event for event in events if event.get("event") == name]

        wait_for(lambda: process.poll() is not None or len(told()) >= times, f"the event {name}")
        assert process.poll() is None, (self.folder / "dial.log").read_text()
        return told()[-1]

    def await_connected(self, process: subprocess.Popen[Any], times: int = 1) -> None:
        """Wait until the call is up, for so many times. Raises ``AssertionError`` if it ends before."""
        self.await_event(process, "connected", times)

    # --- the guest ---------------------------------------------------------------------------------------------------------

    def start(self, script: str, *, pki: Path | None = None, **parameters: str) -> Job:
        """Start a job in the guest. ``pki`` is a folder with ca.crt, guest.crt, guest.key for it."""
        folder = self.folder / ("guest" if not self._jobs else f"guest-{len(self._jobs) + 1}")
        if pki is not None:
            shutil.copytree(pki, folder / "pki")
        job = self.lab.guest.start(folder, script, **parameters)
        self._jobs.append(job)
        return job


class Lab:
    """What all scenarios share: the namespace with the tap, the guest, the accounts."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.state = Path(tempfile.mkdtemp(prefix="hr-interop-"))
        """A short path: a socket's name has room for 107 octets."""
        self.namespace = Namespace("interop")
        make_tap(self.namespace, TAP)
        for name in ("all", "default", TAP):
            self.namespace.sysctl(f"net.ipv6.conf.{name}.disable_ipv6", "1")
        self.namespace.address(TAP, OUR_IP, 24)
        self._guest: Guest | None = None
        self.boots = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._guest is not None and self._guest.alive:
            self._guest.off()
        left = self.inhabitants()
        self.namespace.close()
        shutil.rmtree(self.state, ignore_errors=True)
        assert not left, f"processes were left behind: {left}"

    def inhabitants(self) -> dict[int, str]:
        """Processes in the namespace beside its holder, and what they are."""
        home = Path(self.namespace.path).stat().st_ino
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended meanwhile
                if (process / "ns/net").stat().st_ino == home and int(process.name) != self.namespace.pid:
                    found[int(process.name)] = (process / "cmdline").read_text("utf-8", "replace").replace("\0", " ")
        return found

    @contextmanager
    def home(self) -> Iterator[Namespace]:
        """A namespace behind a router with NAT, which is our end of the guest's network."""
        with Namespace("home") as home:
            veth(self.namespace, "lan", home, "eth")
            self.namespace.address("lan", "192.168.1.1", 24)
            home.address("eth", "192.168.1.2", 24)
            home.route("0.0.0.0/0", "192.168.1.1")
            masquerade(self.namespace, TAP)
            try:
                yield home
            finally:
                self.namespace.run(["nft", "flush ruleset"])

    @property
    def guest(self) -> Guest:
        """The guest, booted now if there is none or it has died."""
        if self._guest is None or not self._guest.alive:
            self._guest = Guest(self.namespace, self.results, TAP)
            self._guest.await_boot()
            self.boots += 1
        return self._guest

    def versions(self) -> dict[str, str]:
        """What the guest is made of."""
        return self._guest.versions() if self._guest is not None else {}

    @cached_property
    def accounts(self) -> Path:
        """An account database: alice, carol (readable by CHAP-MD5), solo (one session at once), and the clients of the crowd."""
        path = self.state / "accounts.db"
        special = ((USER, ()), ("carol", ("--recoverable",)), ("solo", ("--sessions", "1")))
        for name, options in (*special, ("c1", ()), ("c2", ()), ("c3", ())):
            self.run("account", "add", name, "--database", path, *options, env={"HEADRACE_PASSWORD": PASSWORD})
        return path

    def run(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of ours that ends by itself; it must do so well."""
        command = headrace(*arguments)
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=SLACK,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stderr}"
        return done

    def record(self, path: Path) -> Callable[[], None]:
        """Record what the tap carries. The result ends it."""
        # --immediate-mode: else packets wait up to a second in the kernel, and the last ones are never written.
        options = "-U --immediate-mode -Z root -B 4096 ip and not igmp"
        command = ["tcpdump", "-i", TAP, "-w", str(path), *options.split()]
        process = self.namespace.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        said = process.stderr.readline()
        assert b"listening" in said, said

        def stop() -> None:
            if process.poll() is None:
                time.sleep(0.3)  # what the kernel still has
                end(process)
            if process.stderr is not None:
                process.stderr.close()

        return stop
