"""What the tests of this room share: a small account store, two links back to back, and a peer that says whatever a test wants."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

from tests.sim import CALM, Adapter, Simulation, Weather

from headrace.errors import Slug
from headrace.model import Encryption, Rand
from headrace.ppp.chap import md5_response
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject, ClientCredentials, LinkConfig
from headrace.ppp.events import AuthRequest, Dropped, LinkDown, PppEvent
from headrace.ppp.frame import Code, Frame, Packet, Proto
from headrace.ppp.link import Link
from headrace.ppp.mppe import start_keys
from headrace.ppp.mschap_crypto import authenticator_response, challenge_hash, nt_password_hash, nt_response
from headrace.ppp.option import Option, emit_options, parse_options

LOCAL = IPv4Address("10.99.0.1")
REMOTE = IPv4Address("10.99.0.10")
DNS = (IPv4Address("10.99.0.53"), IPv4Address("10.99.1.53"))
WINS = (IPv4Address("10.99.0.42"),)
VECTORS = Path(__file__).parent.parent / "vectors" / "ppp"

E = TypeVar("E")


def seeded(seed: int) -> Rand:
    """A repeatable source of octets."""
    return random.Random(seed).randbytes


def server_config(**changes: object) -> LinkConfig:
    return dataclasses.replace(LinkConfig(server=True, local_address=LOCAL), **changes)  # type: ignore[arg-type]


def client_config(**changes: object) -> LinkConfig:
    base = LinkConfig(server=False, credentials=ClientCredentials("alice", "wonderland"))
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@dataclass
class Store:
    """Checks proofs as an account store would."""

    users: dict[bytes, str] = field(default_factory=lambda: {b"alice": "wonderland"})
    grant: AuthAccept = field(default_factory=lambda: AuthAccept("alice", address=REMOTE, dns=DNS, wins=WINS))
    reject: AuthReject | None = None
    """Says this of a right proof."""
    retry: bool = False
    asked: list[AuthRequest] = field(default_factory=list)

    def check(self, request: AuthRequest) -> AuthAccept | AuthReject:
        self.asked.append(request)
        name = request.username.rpartition(b"\\")[2]
        password = self.users.get(name)
        if password is None:
            return AuthReject(Slug.USER_UNKNOWN, retry=self.retry)
        nt_hash = nt_password_hash(password)
        grant = dataclasses.replace(self.grant, username=name.decode())
        if request.method is AuthMethod.PAP:
            right = request.response == password.encode()
        elif request.method is AuthMethod.CHAP_MD5:
            right = request.response == md5_response(request.identifier, password.encode(), request.challenge)
        elif request.method is AuthMethod.MSCHAP:
            right = request.response[24:48] == nt_response(nt_hash, request.challenge)
        else:
            peer_challenge, proof = request.response[:16], request.response[24:48]
            challenge8 = challenge_hash(peer_challenge, request.challenge, request.username)
            right = proof == nt_response(nt_hash, challenge8)
            send, receive = start_keys(nt_hash, proof, server=True)
            success = authenticator_response(nt_hash, proof, challenge8).encode()
            grant = dataclasses.replace(grant, mschap_success=success, mppe_send_key=send, mppe_recv_key=receive)
        if not right:
            return AuthReject(Slug.AUTH_FAILED, retry=self.retry)
        return self.reject or grant


class End:
    """One link, its store (if it is the server), and everything it has said."""

    def __init__(self, link: Link, store: Store | None = None) -> None:
        self.link = link
        self.store = store
        self.events: list[PppEvent] = []
        self.sent: list[Frame] = []
        self.now = 0.0

    def drain(self) -> list[bytes]:
        """Take events, answer the ones that ask, take frames."""
        while events := self.link.poll_events():
            self.events += events
            for event in events:
                if isinstance(event, AuthRequest) and self.store is not None:
                    self.link.auth_result(event.request, self.store.check(event), self.now)
        frames = self.link.poll_frames()
        self.sent += [Frame.parse(frame) for frame in frames]
        return frames

    def receive(self, frame: bytes, now: float) -> None:
        self.now = now
        self.link.receive(frame, now)

    def tick(self, now: float) -> None:
        self.now = now
        self.link.tick(now)

    def adapter(self) -> Adapter[bytes]:
        return Adapter(send=self.drain, receive=self.receive, deadline=self.link.deadline, tick=self.tick)

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[E]) -> E:
        found = self.all(kind)
        assert len(found) == 1, f"{len(found)} {kind.__name__}: {self.events}"
        return found[0]

    def has(self, kind: type[E]) -> bool:
        return bool(self.all(kind))

    @property
    def down(self) -> LinkDown | None:
        found = self.all(LinkDown)
        return found[0] if found else None

    @property
    def why(self) -> Slug | None:
        return self.down.failure.slug if self.down else None

    def order(self, *kinds: type) -> list[type]:
        """The kinds among the events, in the order in which they came."""
        return [type(event) for event in self.events if isinstance(event, kinds)]


class Pair:
    """A server and a client over a network."""

    def __init__(
        self,
        server: LinkConfig | None = None,
        client: LinkConfig | None = None,
        store: Store | None = None,
        weather: Weather = CALM,
        seed: int = 1,
    ) -> None:
        self.server = End(Link(server or server_config(), seeded(2 * seed)), store or Store())
        self.client = End(Link(client or client_config(), seeded(2 * seed + 1)))
        self.sim: Simulation[bytes] = Simulation(self.server.adapter(), self.client.adapter(), weather, seed=seed)
        self.server.link.open(self.sim.now)
        self.client.link.open(self.sim.now)

    def until(self, *kinds: type, limit: float = 60.0) -> Pair:
        """Run until both ends have had events of all these kinds."""
        self.sim.run_until(lambda: all(end.has(kind) for end in (self.server, self.client) for kind in kinds), limit=limit)
        return self

    def until_down(self, limit: float = 200.0) -> Pair:
        return self.until(LinkDown, limit=limit)

    def run(self, seconds: float) -> Pair:
        self.sim.run_for(seconds)
        return self


class Script:
    """A link opposite a peer made of the test's own words."""

    def __init__(
        self, config: LinkConfig | None = None, store: Store | None = None, *, seed: int = 5, opened: bool = True
    ) -> None:
        self.end = End(Link(config or server_config(), seeded(seed)), store or Store())
        self.now = 1000.0
        self.end.now = self.now
        self.magic = b"\xca\xfe\xba\xbe"
        self.challenge = b""
        if opened:
            self.link.open(self.now)

    @property
    def link(self) -> Link:
        return self.end.link

    def raw(self, frame: bytes) -> None:
        self.end.receive(frame, self.now)

    def say(
        self, protocol: int, code: int, identifier: int, data: bytes | tuple[Option, ...] = b""
    ) -> list[tuple[int, Packet]]:
        """Send one packet, and return what comes back."""
        octets = data if isinstance(data, bytes) else emit_options(data)
        self.raw(Frame(protocol, Packet(code, identifier, octets).emit()).emit())
        return self.hear()

    def hear(self) -> list[tuple[int, Packet]]:
        """What the link has sent since the last time."""
        return [(frame.protocol, Packet.parse(frame.information, "test")) for frame in map(Frame.parse, self.end.drain())]

    def wait(self, seconds: float) -> list[tuple[int, Packet]]:
        """Let time pass, timer by timer, and return what the link sends meanwhile."""
        until, heard = self.now + seconds, []
        while (due := self.link.deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.end.tick(self.now)
            heard += self.hear()
        self.now = until
        return heard

    def drops(self) -> list[str]:
        return [event.reason for event in self.end.all(Dropped)]

    # --- a peer that agrees to everything, as far as the test wants ---------------------------------------------------------

    def negotiate(self, protocol: int, options: tuple[Option, ...] = (), identifier: int = 1) -> list[tuple[int, Packet]]:
        """Bring a control protocol up: acknowledge what the link asks, and have our own request acknowledged."""
        rest = self.hear() + self.say(protocol, Code.CONFIGURE_REQUEST, identifier, options)
        request = self.asked(protocol)
        rest += self.say(protocol, Code.CONFIGURE_ACK, request.identifier, request.data)
        return [(number, packet) for number, packet in rest if number != protocol or packet.code > Code.CONFIGURE_ACK]

    def asked(self, protocol: int) -> Packet:
        """The link's last Configure-Request."""
        packets = [Packet.parse(frame.information, "test") for frame in self.end.sent if frame.protocol == protocol]
        return [packet for packet in packets if packet.code == Code.CONFIGURE_REQUEST][-1]

    def lcp(self, *options: Option) -> list[tuple[int, Packet]]:
        return self.negotiate(Proto.LCP, (Option(5, self.magic), *options))

    def respond(self, challenge: Packet, name: bytes = b"alice", password: str = "wonderland") -> bytes:
        """The value and name of a right MS-CHAPv2 Response."""
        size = challenge.data[0]
        self.challenge = challenge.data[1 : 1 + size]
        peer = b"\x11" * 16
        proof = nt_response(nt_password_hash(password), challenge_hash(peer, self.challenge, name))
        return b"\x31" + peer + bytes(8) + proof + b"\0" + name

    def authenticate(self, password: str = "wonderland") -> list[tuple[int, Packet]]:
        """LCP, then MS-CHAPv2 as the client."""
        (challenge,) = [packet for number, packet in self.lcp() if number == Proto.CHAP]
        return self.say(Proto.CHAP, 2, challenge.identifier, self.respond(challenge, password=password))


def options_of(packet: Packet) -> dict[int, bytes]:
    return {option.type: option.data for option in parse_options(packet.data, "test")}


def codes(heard: list[tuple[int, Packet]], protocol: int) -> list[int]:
    return [packet.code for number, packet in heard if number == protocol]


def golden(name: str) -> list[tuple[str, Frame]]:
    """Frames of a recorded connection: who sent it, and what."""
    lines = (VECTORS / name).read_text().splitlines()
    return [(who, Frame.parse(bytes.fromhex(data))) for who, data in (line.split() for line in lines)]


REQUIRED = (Encryption.REQUIRED, Encryption.REQUIRED_128)
