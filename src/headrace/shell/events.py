"""The one stream of events: session and peer records as everyone outside reads them, and what happens to them.

Logs, control socket, metrics and accounting read the same values. Every event has one human line and one JSON form; times in them are
seconds of the wall clock since 1970, times spent are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from headrace.errors import explain
from headrace.model import Endpoint, Failure, IPAddress, Rung
from headrace.stack import agreed

if TYPE_CHECKING:
    from headrace.stack import events as stack

Json: TypeAlias = dict[str, Any]


def rung_name(rung: Rung) -> str:
    """Give a rung's name as the log and the JSON spell it: ``ike-auth``."""
    return rung.name.lower().replace("_", "-")


def nat_verdict(*, nat_local: bool, nat_remote: bool, dialled: bool = False) -> str:
    """Say before whom a NAT stands: ``none``, ``client``, ``gateway`` or ``both``. ``dialled`` says that we are the client."""
    if nat_local and nat_remote:
        return "both"
    if not nat_local and not nat_remote:
        return "none"
    return "client" if nat_local == dialled else "gateway"


def client_kind(vendor: str, computer: str = "") -> str:
    """Guess the family of a client from its vendor ids and its LCP Identification; for people, never for decisions."""
    text = f"{vendor} {computer}".lower()
    for needle, kind in (
        ("headrace", "headrace"),
        ("windows", "Windows"),
        ("ms nt5", "Windows"),
        ("msras", "Windows"),
        ("mac", "Apple"),
        ("ios", "Apple"),
        ("apple", "Apple"),
        ("android", "Android"),
        ("strongswan", "strongSwan"),
        ("libreswan", "Libreswan"),
        ("racoon", "racoon"),
        ("kame", "racoon"),
    ):
        if needle in text:
            return kind
    return "unknown"


def timestamp(seconds: float) -> str:
    """Write a wall-clock time as ISO 8601 in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def octets(count: int) -> str:
    """Write a number of octets for a person: ``12.3 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration(seconds: float) -> str:
    """Write a span of time for a person: ``42 s``, ``3 m 05 s``, ``2 h 10 m``, ``4 d 01 h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} m"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"


def _plain(value: Any) -> Any:
    """Make one field fit for JSON."""
    if isinstance(value, IntEnum):
        return value.name.lower().replace("_", "-")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(_plain(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A rung of the ladder that was passed."""

    rung: str
    number: int
    """1 to 11."""
    at: float
    """Wall clock, seconds since 1970."""
    seconds: float
    """Since the rung before; 0 for the first one known."""
    agreed: str

    def json(self) -> Json:
        """Give the JSON form."""
        spent = {"at": timestamp(self.at), "seconds": round(self.seconds, 3)}
        return {"rung": self.rung, "number": self.number, **spent, "agreed": self.agreed}


def ladder(passed: Iterable[agreed.Passed], wall: float) -> tuple[Passed, ...]:
    """Take over the rungs that the stack knows as passed. ``wall`` is the wall-clock time at the monotonic time 0."""
    return tuple(
        Passed(rung=rung_name(one.rung), number=int(one.rung), at=wall + one.when, seconds=one.seconds, agreed=one.agreed)
        for one in passed
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRecord:
    """One remote machine, from phase 1 on."""

    peer: int
    """Handle; never reused while the gateway runs."""
    remote: Endpoint
    """Its outer address and port now."""
    local: Endpoint
    auth: str = ""
    """``cert``, ``psk``, or ``none`` for L2TP in clear."""
    remote_id: str = ""
    vendor: str = ""
    ike: str = ""
    """Agreed phase-1 transform."""
    esp: str = ""
    nat: str = "none"
    """``none``, ``client``, ``gateway`` or ``both``."""
    since: float = 0.0

    def json(self) -> Json:
        """Give the JSON form."""
        return {**{f.name: _plain(getattr(self, f.name)) for f in fields(self)}, "since": timestamp(self.since)}

    @classmethod
    def of(cls, record: stack.PeerRecord, *, wall: float, dialled: bool = False) -> PeerRecord:
        """Take over the stack's record. ``wall`` is the wall-clock time at the monotonic time 0; ``dialled`` says that we are the client."""
        return cls(
            peer=record.handle,
            remote=record.remote,
            local=record.local,
            auth=record.auth,
            remote_id=record.remote_id,
            vendor=record.vendor,
            ike=record.ike_proposal,
            esp=record.esp_proposal,
            nat=nat_verdict(nat_local=record.nat_local, nat_remote=record.nat_remote, dialled=dialled),
            since=wall + record.since,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One PPP session as everyone outside of the gateway sees it."""

    session: int
    """Handle; never reused while the gateway runs. ``headrace disconnect`` takes it."""
    peer: int
    """Handle of the machine it came from."""
    user: str = ""
    computer: str = ""
    """What LCP Identification or the L2TP host name said."""
    software: str = ""
    """What else LCP Identification said: the version of Windows' RAS."""
    client: str = "unknown"
    """Kind of client, guessed."""
    outer: Endpoint
    """Where the client is."""
    gateway: Endpoint
    """Our outer address for it."""
    inner: IPAddress | None = None
    """The address it was given."""
    inner_gateway: IPAddress | None = None
    prefix6: str = ""
    """The IPv6 prefix it was given."""
    ipx: str = ""
    """Its IPX network and node."""
    bundle: int = 0
    """Handle of the session that leads the multilink bundle that this one follows; 0: none."""
    bridged: bool = False
    """Whether Ethernet is bridged through it."""
    nat: str = "none"
    machine_auth: str = ""
    user_auth: str = ""
    ike: str = ""
    esp: str = ""
    mppe: str = ""
    """``128-bit stateless``, or empty: ESP alone."""
    compression: str = ""
    """``mppc``, ``deflate``, ``vj``, or empty."""
    mtu: int = 0
    since: float = 0.0
    rungs: Mapping[str, float] = field(default_factory=dict)
    """Seconds spent on each rung of the ladder, in its order."""
    ladder: tuple[Passed, ...] = ()
    """When each rung was passed, and what was agreed on it."""
    local_tunnel: int = 0
    local_session: int = 0
    remote_tunnel: int = 0
    remote_session: int = 0
    rx_packets: int = 0
    """Inner packets from the client."""
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0

    def json(self) -> Json:
        """Give the JSON form."""
        return {
            **{f.name: _plain(getattr(self, f.name)) for f in fields(self)},
            "since": timestamp(self.since),
            "rungs": {name: round(seconds, 3) for name, seconds in self.rungs.items()},
            "ladder": [passed.json() for passed in self.ladder],
        }

    @classmethod
    def of(
        cls,
        record: stack.SessionRecord,
        *,
        wall: float,
        dialled: bool = False,
        rx_packets: int = 0,
        rx_bytes: int = 0,
        tx_packets: int = 0,
        tx_bytes: int = 0,
    ) -> SessionRecord:
        """Take over the stack's record and the data plane's counters.

        ``wall`` is the wall-clock time at the monotonic time 0; ``dialled`` says that we are the client, the other end the gateway.
        """
        computer = record.computer or record.host_name
        outer, gateway = record.peer.remote, record.peer.local
        inner, inner_gateway = record.remote_address, record.local_address
        if dialled:
            outer, gateway, inner, inner_gateway = gateway, outer, inner_gateway, inner
        return cls(
            session=record.handle,
            peer=record.peer.handle,
            user=record.username,
            computer=computer,
            client=client_kind(record.peer.vendor, record.software or record.computer),
            software=record.software,
            outer=outer,
            gateway=gateway,
            inner=inner,
            inner_gateway=inner_gateway,
            prefix6=str(record.prefix6 or ""),
            ipx=record.ipx,
            bridged=record.bridged,
            bundle=record.bundle,
            nat=nat_verdict(nat_local=record.peer.nat_local, nat_remote=record.peer.nat_remote, dialled=dialled),
            machine_auth=record.peer.auth,
            user_auth=record.auth_method,
            ike=record.peer.ike_proposal,
            esp=record.peer.esp_proposal,
            mppe=record.mppe,
            compression=", ".join(filter(None, (record.compression, "vj" if record.vj else ""))),
            mtu=record.mtu,
            since=wall
            + max((when for rung, when in record.rungs.items() if rung is not Rung.TRAFFIC), default=record.peer.since),
            rungs=rung_seconds({**record.peer.rungs, **record.rungs}),
            ladder=ladder(agreed.ladder_of(record.peer, record), wall),
            local_tunnel=record.local_tunnel,
            local_session=record.local_session,
            remote_tunnel=record.remote_tunnel,
            remote_session=record.remote_session,
            rx_packets=rx_packets,
            rx_bytes=rx_bytes,
            tx_packets=tx_packets,
            tx_bytes=tx_bytes,
        )


def rung_seconds(passed: Mapping[Rung, float]) -> dict[str, float]:
    """Turn the times at which rungs were passed into seconds spent on each. The first one known only marks the start."""
    ordered = sorted(passed.items(), key=lambda item: item[1])
    return {rung_name(rung): max(0.0, when - before) for (rung, when), (_, before) in zip(ordered[1:], ordered, strict=False)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of everything in the stream."""

    kind: ClassVar[str] = "event"
    level: ClassVar[str] = "info"

    time: float
    """Wall clock, seconds since 1970."""

    def human(self) -> str:
        """Give one line for a person, without the time."""
        raise NotImplementedError

    def json(self) -> Json:
        """Give the JSON form: always ``time`` and ``event``, then the event's own members."""
        body: Json = {"time": timestamp(self.time), "event": self.kind}
        for f in fields(self):
            if f.name != "time":
                value = getattr(self, f.name)
                if isinstance(value, Failure):
                    body.update(failure_json(value))
                else:
                    body[f.name] = value.json() if isinstance(value, PeerRecord | SessionRecord) else _plain(value)
        return body


def failure_json(failure: Failure) -> Json:
    """Give the members that every refusal and every end has."""
    record = explain(failure.slug)
    return {"slug": str(failure.slug), "ras": record.ras, "name": record.name, "detail": failure.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """The gateway takes calls."""

    kind: ClassVar[str] = "started"

    version: str
    listen: tuple[str, ...]
    policy: str
    cpu: str = ""
    """Level of the data plane's kernels."""

    def human(self) -> str:
        """Give one line for a person."""
        level = f", kernels {self.cpu}" if self.cpu else ""
        return f"started headrace {self.version} on {', '.join(self.listen)}, policy {self.policy}{level}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded(Event):
    """The gateway goes on with a changed configuration."""

    kind: ClassVar[str] = "reloaded"

    waiting: tuple[str, ...] = ()
    """Keys that have changed and count from the next start on."""

    def human(self) -> str:
        """Give one line for a person."""
        return "reloaded" + (f"; from the next start on: {', '.join(self.waiting)}" if self.waiting else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping(Event):
    """The gateway closes its sessions and ends."""

    kind: ClassVar[str] = "stopping"

    reason: str
    sessions: int = 0

    def human(self) -> str:
        """Give one line for a person."""
        return f"stopping: {self.reason}; closing {self.sessions} session{'' if self.sessions == 1 else 's'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerUp(Event):
    """A machine has proven itself and has its SAs."""

    kind: ClassVar[str] = "peer-up"

    peer: PeerRecord

    def human(self) -> str:
        """Give one line for a person."""
        peer = self.peer
        nat = "" if peer.nat == "none" else f", NAT before the {peer.nat}" if peer.nat != "both" else ", NAT before both"
        named = f" ({peer.remote_id})" if peer.remote_id else ""
        vendor = f", {peer.vendor}" if peer.vendor else ""
        return f"peer-up {peer.remote}{named}: {peer.auth}, ike {peer.ike}, esp {peer.esp}{nat}{vendor}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerDown(Event):
    """A machine is gone, with everything that hung on it."""

    kind: ClassVar[str] = "peer-down"

    peer: PeerRecord
    failure: Failure

    def human(self) -> str:
        """Give one line for a person."""
        return f"peer-down {self.peer.remote}: {end_text(self.failure)}; {duration(self.time - self.peer.since)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerMoved(Event):
    """A machine's outer address changed, proven by an authenticated packet."""

    kind: ClassVar[str] = "peer-moved"

    peer: PeerRecord
    before: Endpoint

    def human(self) -> str:
        """Give one line for a person."""
        return f"peer-moved {self.before} to {self.peer.remote}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUp(Event):
    """A user is on the network."""

    kind: ClassVar[str] = "session-up"

    session: SessionRecord

    def human(self) -> str:
        """Give one line for a person."""
        s = self.session
        spent = sum(s.rungs.values())
        took = f", {spent:.2f} s" if s.rungs else ""
        return (
            f"session-up {s.user or '-'} {s.inner or s.prefix6 or '-'} from {s.outer}: {s.machine_auth}, {s.user_auth or 'no user authentication'}, "
            f"esp {s.esp or 'none'}, mppe {s.mppe or 'none'}, mtu {s.mtu}{took}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDown(Event):
    """A user has left the network."""

    kind: ClassVar[str] = "session-down"

    session: SessionRecord
    failure: Failure
    by_peer: bool

    def human(self) -> str:
        """Give one line for a person."""
        s = self.session
        who = "by the client" if self.by_peer else "by us"
        return (
            f"session-down {s.user or '-'} {s.inner or '-'} from {s.outer}: {end_text(self.failure)} ({who}); "
            f"{duration(self.time - s.since)}, {octets(s.rx_bytes)} in, {octets(s.tx_bytes)} out"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Event):
    """Somebody did not get in."""

    kind: ClassVar[str] = "refused"
    level: ClassVar[str] = "warning"

    remote: Endpoint
    rung: Rung
    failure: Failure
    user: str = ""
    computer: str = ""
    ladder: tuple[Passed, ...] = ()
    """The rungs that were passed before."""

    def human(self) -> str:
        """Give one line for a person."""
        return refusal_text(self.remote.address, self.rung, self.failure, user=self.user)

    def json(self) -> Json:
        """Give the JSON form, with the remedies on both sides and the rungs that were passed."""
        record = explain(self.failure.slug)
        remedies = {"remedy": record.remedy_gateway, "remedy_client": record.remedy_client}
        return {**Event.json(self), **remedies, "ladder": [passed.json() for passed in self.ladder]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Event):
    """Something an operator should know that happens to no session: a weak setting, a full disk."""

    kind: ClassVar[str] = "notice"
    level: ClassVar[str] = "warning"

    text: str

    def human(self) -> str:
        """Give one line for a person."""
        return self.text


GatewayEvent: TypeAlias = Started | Stopping | PeerUp | PeerDown | PeerMoved | SessionUp | SessionDown | Refused | Notice


def refusal_text(address: IPAddress | str, rung: Rung, failure: Failure, *, user: str = "") -> str:
    """Write the line of a refusal: who, number, slug, rung, what was seen, what to do."""
    record = explain(failure.slug)
    who = f"{address} user {user}" if user else f"{address}"
    detail = f": {failure.detail}" if failure.detail else ""
    return f"refused {who}: {record.ras} {failure.slug} ({rung_name(rung)}){detail}; remedy: {record.remedy_gateway}"


def end_text(failure: Failure) -> str:
    """Write why something ended: number (unless it is a normal end), slug, detail."""
    ras = explain(failure.slug).ras
    number = f"{ras} " if ras else ""
    return f"{number}{failure.slug}{f': {failure.detail}' if failure.detail else ''}"
