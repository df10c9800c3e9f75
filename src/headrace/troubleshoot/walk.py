"""The walk up the ladder: names, path, what the server accepts, then a call; a report of every rung and one verdict.

1. name: both address families    2. path: UDP 500, UDP 4500, a large datagram    3. ike-proposal: a scan, vendor ids
4. to 11.: a call by the client's own stack, as far as the credentials go         verdict: one reason, its number, its remedy
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Any

from headrace.errors import Slug, explain
from headrace.ike import vendor
from headrace.ike.config import IkeConfig
from headrace.ike.constants import AuthMethod
from headrace.ike.proposal import TIERS
from headrace.l2tp.config import L2tpConfig
from headrace.model import Endpoint, Failure, IPAddress, Rung
from headrace.ppp.config import LinkConfig
from headrace.stack.agreed import ladder_of
from headrace.troubleshoot.call import Outcome, WatchedCall
from headrace.troubleshoot.probe import LARGE, SCAN_MAX, TRIES, Answer, PortClosed, Prober, Unreachable

_METHODS = {AuthMethod.PSK: "pre-shared key", AuthMethod.RSA_SIGNATURE: "certificate (RSA)"}
EXIT_BASE = 10
"""The exit code of a walk that broke is this plus the rung: 12 path, 14 ike-auth ..."""


class State(StrEnum):
    """How a step ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOTE = "note"
    """Worth knowing; not decisive."""
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tested."""

    rung: Rung
    state: State
    text: str
    seconds: float = 0.0

    def json(self) -> dict[str, Any]:
        """The JSON form."""
        return {"rung": name_of(self.rung), "state": self.state.value, "text": self.text, "seconds": round(self.seconds, 3)}


@dataclass(slots=True)
class Target:
    """Whom to walk to, and with what."""

    server: str
    ike_port: int = 500
    natt_port: int = 4500
    family: int = 0
    """4 or 6 to insist on one."""
    source: IPAddress | None = None
    scan: int = SCAN_MAX
    """Proposals to find for each way to authenticate; 0 is no scan."""
    timeout: float = 30.0
    ike: IkeConfig | None = field(default=None, repr=False)
    """With credentials; ``None`` ends the walk before the call."""
    l2tp: L2tpConfig | None = field(default=None, repr=False)
    link: LinkConfig | None = field(default=None, repr=False)
    user: bool = False
    """There is a user to prove: else the call ends when LCP is open."""


@dataclass(slots=True)
class Report:
    """Everything that was found."""

    server: str
    steps: list[Step] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    accepted: dict[str, list[str]] = field(default_factory=dict)
    """Phase-1 proposals by way of authentication."""
    vendors: list[str] = field(default_factory=list)
    failure: Failure | None = None
    sent: int = 0

    @property
    def code(self) -> int:
        """The exit code."""
        return 0 if self.failure is None else EXIT_BASE + explain(self.failure.slug).rung

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.failure is not None:
            record = explain(self.failure.slug)
            return f"It breaks on rung {record.rung} ({name_of(Rung(record.rung))}): {record.title}."
        reached = max((step.rung for step in self.steps if step.state is State.PASSED), default=Rung.NAME)
        if reached is Rung.TRAFFIC:
            return "Everything works: packets of every size cross the tunnel."
        return f"Everything that could be tested works, up to rung {reached.value} ({name_of(reached)})."

    def json(self) -> dict[str, Any]:
        """The JSON form."""
        record = explain(self.failure.slug) if self.failure is not None else None
        return {
            "server": self.server,
            "addresses": self.addresses,
            "steps": [step.json() for step in self.steps],
            "accepted": self.accepted,
            "vendors": self.vendors,
            "datagrams_sent": self.sent,
            "verdict": self.verdict,
            "failure": None
            if self.failure is None or record is None
            else {
                "slug": str(self.failure.slug),
                "ras": record.ras,
                "name": record.name,
                "rung": name_of(Rung(record.rung)),
                "detail": self.failure.detail,
                "remedy_client": record.remedy_client,
                "remedy_gateway": record.remedy_gateway,
            },
        }


def name_of(rung: Rung) -> str:
    """A rung's name as logs spell it."""
    return rung.name.lower().replace("_", "-")


def most(target: Target) -> int:
    """Datagrams that the probes send at most, before the call."""
    offers = 2 * (target.scan + -(-len(TIERS["legacy"]) // 26)) if target.scan else 0
    return TRIES * (3 + offers)


class Walk:
    """Walks once. ``say`` is told each step as it ends."""

    def __init__(self, target: Target, say: Callable[[Step], None]) -> None:
        self.report = Report(target.server)
        self._target = target
        self._say = say
        self._begin = 0.0
        self._natt_silent = False

    def run(self) -> Report:
        """Do everything that can be done. Raises nothing for what a server does."""
        addresses = self._name()
        answer = None
        prober: Prober | None = None
        for remote in addresses:
            prober = Prober(remote, self._target.source)
            answer = self._path(prober, remote)
            self.report.sent += prober.sent
            if answer is not None:
                self.report.failure = None
                break
        if answer is not None and prober is not None:
            before = prober.sent
            self._proposals(prober, answer)
            self.report.sent += prober.sent - before
            self._call(remote)
        return self.report

    # --- steps -------------------------------------------------------------------------------------------------------------------

    def _step(self, rung: Rung, state: State, text: str) -> None:
        now = time.monotonic()
        step = Step(rung, state, text, now - self._begin)
        self._begin = now
        self.report.steps.append(step)
        self._say(step)

    def _fail(self, failure: Failure) -> None:
        self.report.failure = self.report.failure or failure
        self._step(Rung(explain(failure.slug).rung), State.FAILED, f"{explain(failure.slug).ras} {failure}")

    def _name(self) -> list[IPAddress]:
        self._begin = time.monotonic()
        found: list[IPAddress] = []
        for family, kind, version in ((socket.AF_INET, "IPv4", 4), (socket.AF_INET6, "IPv6", 6)):
            if self._target.family not in {0, version}:
                continue
            try:
                answers = socket.getaddrinfo(self._target.server, self._target.ike_port, family, socket.SOCK_DGRAM)
            except OSError as error:
                self._step(Rung.NAME, State.NOTE, f"no {kind} address: {error.strerror or error}")
                continue
            addresses = list(dict.fromkeys(ip_address(str(item[4][0]).partition("%")[0]) for item in answers))[:4]
            found += addresses
            self._step(Rung.NAME, State.PASSED, f"{kind}: {', '.join(map(str, addresses))}")
        self.report.addresses = [str(address) for address in found]
        if not found:
            self._fail(Failure(Slug.NAME_UNRESOLVED, f"{self._target.server} has no address"))
        return found

    def _path(self, prober: Prober, remote: IPAddress) -> Answer | None:
        port, natt = self._target.ike_port, self._target.natt_port
        everything = TIERS["legacy"]
        methods = tuple(_METHODS)
        try:
            answer = prober.ask(port, everything, methods)
        except PortClosed as error:
            self._fail(Failure(Slug.IKE_NO_ANSWER, f"{error}: nothing listens there, or a firewall rejects it"))
            return None
        except Unreachable as error:
            self._fail(Failure(Slug.NO_ROUTE, str(error)))
            return None
        if answer is None:
            self._fail(Failure(Slug.IKE_NO_ANSWER, f"UDP {port} of {remote} does not answer {TRIES} first messages"))
            return None
        self._step(Rung.PATH, State.PASSED, f"UDP {port} of {remote} answers in {answer.seconds * 1000:.0f} ms: {answer.label}")
        for text, size, marker, where in (
            (f"UDP {natt}", 0, True, natt),
            (f"a datagram of {LARGE} octets", LARGE, False, port),
        ):
            try:
                seen = prober.ask(where, everything, methods, marker=marker, size=size)
            except Unreachable as error:
                self._step(Rung.PATH, State.NOTE, f"{text}: {error}")
                continue
            if seen is not None:
                self._step(Rung.PATH, State.PASSED, f"{text} is answered")
            elif marker:
                self._natt_silent = True
                self._step(
                    Rung.PATH,
                    State.NOTE,
                    f"{text} does not answer a first message: it may be blocked; some servers answer only calls",
                )
            else:
                self._step(
                    Rung.PATH, State.NOTE, f"{text} is not answered: fragments are lost on the way, certificates may not pass"
                )
        return answer

    def _proposals(self, prober: Prober, first: Answer) -> None:
        self.report.vendors = [vendor.name_of(item) for item in first.vendors][:32]
        who = vendor.describe(first.vendors)
        features = ", ".join(dict.fromkeys(self.report.vendors)) or "none"
        self._step(Rung.IKE_PROPOSAL, State.NOTE, f"vendor ids: {features}{f'; it is {who}' if who else ''}")
        if self._target.scan:
            for method, label in _METHODS.items():
                try:
                    found = prober.scan(self._target.ike_port, method, self._target.scan)
                except Unreachable as error:
                    self._step(Rung.IKE_PROPOSAL, State.NOTE, f"scan for {label}: {error}")
                    continue
                self.report.accepted[label] = [offer.label for offer in found]
                shown = "; ".join(offer.label for offer in found) or "nothing"
                self._step(Rung.IKE_PROPOSAL, State.PASSED if found else State.NOTE, f"with {label} it accepts {shown}")
            if not any(self.report.accepted.values()):
                self._fail(Failure(Slug.IKE_NO_PROPOSAL, f"it accepts none of {len(TIERS['legacy'])} proposals: {first.label}"))
        elif first.chosen is None:
            self._fail(Failure(Slug.IKE_NO_PROPOSAL, f"it accepts none of what was offered: {first.label}"))
        else:
            self._step(Rung.IKE_PROPOSAL, State.PASSED, f"it chooses {first.chosen.label}")

    # --- the call ----------------------------------------------------------------------------------------------------------------

    def _call(self, remote: IPAddress) -> None:
        target = self._target
        if target.ike is None or target.link is None or target.l2tp is None:
            self._step(
                Rung.IKE_AUTH, State.SKIPPED, "no credentials of this machine: give --psk-file, or --certificate and --ca"
            )
            return
        local = target.source
        if local is None:
            family = socket.AF_INET if remote.version == 4 else socket.AF_INET6
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((str(remote), target.ike_port))
                local = ip_address(probe.getsockname()[0].partition("%")[0])
        call = WatchedCall(
            target.ike,
            target.l2tp,
            target.link,
            local=local,
            remote=Endpoint(remote, target.ike_port),
            natt_port=target.natt_port,
        )
        try:
            outcome = call.run(target.timeout, stop_after=None if target.user else Rung.LCP, progress=lambda _event: None)
        finally:
            call.close()
        self.report.sent += outcome.sent
        self._told(outcome)

    def _told(self, outcome: Outcome) -> None:
        for step in _steps(outcome):
            self.report.steps.append(step)
            self._say(step)
        if outcome.failure is not None:
            self._fail(self._sharper(outcome))
        elif outcome.stopped_at is not None:
            self._step(Rung.USER_AUTH, State.SKIPPED, "no user: give --user and a password")
        elif outcome.session is None or not outcome.session.up:
            self._fail(Failure(_stuck(outcome), f"not passed within {self._target.timeout:g} s"))
        else:
            self._traffic(outcome)

    def _sharper(self, outcome: Outcome) -> Failure:
        """Why the call failed. To the client alone a server that ignores a wrong key looks like a port that is blocked: the probe knows."""
        failure = outcome.failure
        assert failure is not None
        if failure.slug is Slug.PSK_MISMATCH and self._natt_silent and not outcome.natt_heard:
            port = self._target.natt_port
            return Failure(
                Slug.IKE_TIMEOUT,
                f"UDP {port} answered neither the probe nor the call, UDP {self._target.ike_port} did: it is blocked",
            )
        return failure

    def _traffic(self, outcome: Outcome) -> None:
        if outcome.mppe:
            self._step(Rung.TRAFFIC, State.SKIPPED, "MPPE is on: user packets are not tested here; `headrace dial --ping` does")
            return
        lost = [size for size, came in outcome.pings.items() if not came]
        sizes = ", ".join(map(str, outcome.pings))
        if outcome.pings and not lost:
            self._step(Rung.TRAFFIC, State.PASSED, f"echoes of {sizes} octets come back from the gateway's inner address")
        elif len(lost) == len(outcome.pings):
            self._step(Rung.TRAFFIC, State.NOTE, "the gateway's inner address answers no echo: it may not be allowed to")
        else:
            text = f"echoes of {', '.join(map(str, lost))} octets do not come back, smaller ones do: the path carries less than MTU {max(lost)} needs"
            self._fail(Failure(Slug.PATH_MTU, text))


def _steps(outcome: Outcome) -> Iterator[Step]:
    """What the call agreed, and what the wire showed."""
    negotiation = outcome.negotiation
    if negotiation is not None and negotiation.nat:
        client, server = negotiation.nat.get(True, False), negotiation.nat.get(False, False)
        if server:
            value = 2 if client else 1
            text = (
                f"the server is behind a NAT{' and so are we' if client else ''}: Windows clients need "
                f"AssumeUDPEncapsulationContextOnSendRule = {value} (2 covers every case) in "
                "HKLM\\SYSTEM\\CurrentControlSet\\Services\\PolicyAgent, and a restart"
            )
        else:
            text = "we are behind a NAT, the server is not" if client else "no NAT on either side"
        yield Step(Rung.PATH, State.NOTE, text)
    if negotiation is not None and False in negotiation.subject:
        yield Step(Rung.IKE_AUTH, State.NOTE, f"the server's certificate is of {negotiation.subject[False]}")
    if outcome.peer is not None:
        before = None
        for passed in ladder_of(outcome.peer, outcome.session):
            if passed.rung > Rung.PATH:
                seconds = 0.0 if before is None else passed.seconds
                yield Step(passed.rung, State.PASSED, passed.agreed, seconds)
            before = passed


def _stuck(outcome: Outcome) -> Slug:
    """Which rung it hung on when the time was over."""
    rungs = {**(outcome.peer.rungs if outcome.peer else {}), **(outcome.session.rungs if outcome.session else {})}
    for rung, slug in (
        (Rung.USER_AUTH, Slug.IPCP_REFUSED),
        (Rung.LCP, Slug.AUTH_TIMEOUT),
        (Rung.L2TP, Slug.LCP_TIMEOUT),
        (Rung.ESP, Slug.L2TP_SILENT),
        (Rung.IKE_AUTH, Slug.ESP_TIMEOUT),
    ):
        if rung in rungs:
            return slug
    return Slug.IKE_TIMEOUT
