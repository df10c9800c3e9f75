"""Two IKE endpoints back to back, with NATs between them, and a stand-in for each side's data plane that checks what it is told."""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from tests.sim import CALM, Adapter, Simulation, Weather

from headrace.errors import Slug
from headrace.esp.proposal import parse_list as esp_list
from headrace.ike import events
from headrace.ike.config import CertificateRefused, IkeConfig, LocalCertificate, PrivateKey, PublicKey
from headrace.ike.endpoint import IkeEndpoint
from headrace.ike.proposal import parse_list as ike_list
from headrace.model import Datagram, Endpoint, EspKeys, Failure

PSK = b"a pre-shared key for tests"
CLIENT = ipaddress.ip_address("198.51.100.7")
SERVER = ipaddress.ip_address("192.0.2.1")
PRIVATE = ipaddress.ip_address("192.168.1.2")
SERVER_PRIVATE = ipaddress.ip_address("10.0.0.1")

T = TypeVar("T")


def seeded(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def config(
    ike: str = "aes256-sha1-modp2048", esp: str = "aes256-sha1", *, psk: bytes | None = PSK, **changes: object
) -> IkeConfig:
    base = IkeConfig(proposals=ike_list(ike), esp_proposals=esp_list(esp), psk_for=lambda _remote: psk)
    return replace(base, **changes)  # type: ignore[arg-type]


@dataclass
class DataPlane:
    """What a data plane would hold, and the order in which it may be told."""

    inbound: dict[int, EspKeys] = field(default_factory=dict)
    outbound: dict[int, dict[int, EspKeys]] = field(default_factory=dict)
    """By peer, then SPI, in the order of installation."""
    current: dict[int, int] = field(default_factory=dict)
    """SPI in use by peer."""
    remote: dict[int, Endpoint] = field(default_factory=dict)
    ever: set[bytes] = field(default_factory=set)

    def take(self, event: events.IkeEvent) -> None:
        match event:
            case events.InstallSa(peer=peer, keys=keys):
                assert keys.spi > 255
                if keys.outbound:
                    assert keys.enc_key not in self.ever, "an outbound key may never begin anew"
                    self.ever.add(keys.enc_key)
                    self.outbound.setdefault(peer, {})[keys.spi] = keys
                    self.current[peer] = keys.spi
                else:
                    assert keys.spi not in self.inbound, "two SAs share an inbound SPI"
                    self.inbound[keys.spi] = keys
                self.remote[peer] = event.remote
            case events.RemoveSa(peer=peer, spi=spi, outbound=True):
                del self.outbound[peer][spi]
                if self.current.get(peer) == spi:
                    self.current.pop(peer)
            case events.UseSa(peer=peer, spi=spi):
                assert spi in self.outbound[peer]
                self.current[peer] = spi
            case events.RemoveSa(spi=spi):
                del self.inbound[spi]
            case events.PeerMoved(peer=peer, remote=remote):
                self.remote[peer] = remote
            case events.PeerDown(peer=peer):
                assert not self.outbound.get(peer), "SAs are removed before their peer"
            case _:
                pass


class Side:
    """One endpoint with its data plane and everything it ever said."""

    def __init__(self, name: str, ike: IkeEndpoint) -> None:
        self.name = name
        self.ike = ike
        self.events: list[events.IkeEvent] = []
        self.data = DataPlane()

    def drain(self) -> list[Datagram]:
        for event in self.ike.poll_events():
            self.events.append(event)
            self.data.take(event)
        return self.ike.poll_datagrams()

    def all(self, kind: type[T]) -> list[T]:
        self.absorb()
        return [event for event in self.events if isinstance(event, kind)]

    def absorb(self) -> None:
        for event in self.ike.poll_events():
            self.events.append(event)
            self.data.take(event)

    def last(self, kind: type[T]) -> T:
        found = self.all(kind)
        assert found, f"{self.name} never said {kind.__name__}: {self.events}"
        return found[-1]

    def failures(self) -> list[Failure]:
        return [event.failure for event in self.all(events.Refused)]

    def slugs(self) -> list[Slug]:
        return [failure.slug for failure in self.failures()]

    def drops(self) -> list[str]:
        return [event.reason for event in self.all(events.Dropped)]


class Nat:
    """A box that rewrites the address of one host behind it, and hands out ports."""

    def __init__(self, inside: str, outside: str, first_port: int = 40000, *, keep_ports: bool = False) -> None:
        self.inside = ipaddress.ip_address(inside)
        self.outside = ipaddress.ip_address(outside)
        self._next = first_port
        self._keep = keep_ports
        self._out: dict[Endpoint, Endpoint] = {}

    def leave(self, endpoint: Endpoint) -> Endpoint:
        if endpoint.address != self.inside:
            return endpoint
        if endpoint not in self._out:
            port = endpoint.port if self._keep else self._next
            self._next += 1
            self._out[endpoint] = Endpoint(self.outside, port)
        return self._out[endpoint]

    def enter(self, endpoint: Endpoint) -> Endpoint | None:
        if endpoint.address != self.outside:
            return endpoint
        if self._keep:
            return Endpoint(self.inside, endpoint.port)
        return next((inner for inner, outer in self._out.items() if outer == endpoint), None)

    def forget(self) -> None:
        """The mappings time out; the next packet gets another port."""
        self._out.clear()


class Pair:
    """A client and a gateway over one network."""

    def __init__(
        self,
        client: IkeConfig | None = None,
        server: IkeConfig | None = None,
        *,
        client_nat: bool = False,
        server_nat: bool = False,
        weather: Weather = CALM,
        seed: int = 1,
        tap: Callable[[float, bool, Datagram], Datagram | None] | None = None,
    ) -> None:
        self.client_nat = Nat(str(PRIVATE), str(CLIENT)) if client_nat else None
        self.server_nat = Nat(str(SERVER_PRIVATE), str(SERVER), keep_ports=True) if server_nat else None
        self.client_address = PRIVATE if client_nat else CLIENT
        self.server_address = SERVER_PRIVATE if server_nat else SERVER
        self.client = Side("client", IkeEndpoint(client or config(), seeded(seed)))
        self.server = Side("server", IkeEndpoint(server or config(), seeded(seed + 1000)))
        self.wire: list[tuple[float, bool, Datagram]] = []
        self._tap = tap
        self.handle = 0
        self.sim = Simulation(
            self._adapter(self.client), self._adapter(self.server), weather, seed=seed, start=100.0, tap=self._seen
        )

    def _adapter(self, side: Side) -> Adapter[Datagram]:
        def receive(datagram: Datagram, now: float) -> None:
            arrived = self._arrive(datagram)
            if arrived is not None:
                side.ike.receive(arrived, now)

        return Adapter(lambda: [self._depart(d) for d in side.drain()], receive, side.ike.deadline, side.ike.tick)

    def _depart(self, datagram: Datagram) -> Datagram:
        """As it looks on the open network; ``local`` is the source."""
        source = datagram.local
        for nat in (self.client_nat, self.server_nat):
            source = nat.leave(source) if nat else source
        return Datagram(source, datagram.remote, datagram.data)

    def _arrive(self, datagram: Datagram) -> Datagram | None:
        target: Endpoint | None = datagram.remote
        for nat in (self.client_nat, self.server_nat):
            target = nat.enter(target) if nat and target else target
        return Datagram(target, datagram.local, datagram.data) if target else None

    def _seen(self, now: float, to_right: bool, datagram: Datagram) -> Datagram | None:
        self.wire.append((now, to_right, datagram))
        return self._tap(now, to_right, datagram) if self._tap else datagram

    @property
    def now(self) -> float:
        return self.sim.now

    def dial(self) -> int:
        self.handle = self.client.ike.initiate(Endpoint(self.client_address, 500), Endpoint(SERVER, 500), self.sim.now)
        return self.handle

    def up(self) -> bool:
        return bool(self.client.all(events.ChildUp)) and bool(self.server.all(events.ChildUp))

    def connect(self, limit: float = 120.0) -> Pair:
        with self.sim:
            self.dial()
            self.sim.run_until(self.up, limit=limit)
            self.check_keys()
        return self

    def run(self, seconds: float) -> Pair:
        with self.sim:
            self.sim.run_for(seconds)
        return self

    def server_peer(self) -> int:
        return self.server.last(events.PeerUp).peer

    def check_keys(self) -> None:
        """What one side would send now, the other can read."""
        for one, other in ((self.client, self.server), (self.server, self.client)):
            one.absorb()
            other.absorb()
            for peer, spi in one.data.current.items():
                ours = one.data.outbound[peer][spi]
                assert spi in other.data.inbound, f"{one.name} sends with an SA that {other.name} does not have"
                theirs = other.data.inbound[spi]
                assert (ours.cipher, ours.auth, ours.enc_key, ours.auth_key) == (
                    theirs.cipher,
                    theirs.auth,
                    theirs.enc_key,
                    theirs.auth_key,
                )
                assert ours.udp_encap == theirs.udp_encap

    def traffic(self) -> None:
        """Both directions have an SA to use, and it works."""
        self.check_keys()
        assert self.client.data.current
        assert self.server.data.current


# -- certificates

NOT_BEFORE = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
NOT_AFTER = dt.datetime(2040, 1, 1, tzinfo=dt.UTC)


@functools.cache
def rsa_key(number: int, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@functools.cache
def ec_key(number: int, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


def name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Headrace tests"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


@functools.cache
def authority(common: str = "Test CA") -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    key = rsa_key(hash(common))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name(common))
        .issuer_name(name(common))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def issue(common: str, key: PrivateKey, *, names: Sequence[x509.GeneralName] = (), padding: int = 0) -> x509.Certificate:
    ca, ca_key = authority()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
    )
    alternatives = [*names, *(x509.DNSName(f"padding-{i:04}.example") for i in range(padding))]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


class Verifier:
    """Trusts what one CA signed."""

    def __init__(self, ca: x509.Certificate | None = None) -> None:
        self._ca = ca or authority()[0]
        self.seen: list[tuple[list[bytes], list[str]]] = []

    def authorities(self) -> Sequence[bytes]:
        return [self._ca.subject.public_bytes()]

    def verify(self, chain: Sequence[bytes], names: Sequence[str]) -> PublicKey:
        self.seen.append((list(chain), list(names)))
        try:
            certificate = x509.load_der_x509_certificate(chain[0])
        except ValueError as error:
            raise CertificateRefused(Slug.CERT_MALFORMED, "not a certificate") from error
        try:
            certificate.verify_directly_issued_by(self._ca)
            key = certificate.public_key()
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise CertificateRefused(Slug.CERT_UNKNOWN_CA, "not by this authority") from error
        assert isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey))
        return key


def machine(
    common: str, key: PrivateKey | None = None, *, padding: int = 0, names: Sequence[x509.GeneralName] = ()
) -> LocalCertificate:
    key = key or rsa_key(hash(common))
    return LocalCertificate(key, (der(issue(common, key, names=names, padding=padding)),))


def cert_config(
    common: str,
    ike: str = "aes256-sha1-modp2048",
    esp: str = "aes256-sha1",
    *,
    key: PrivateKey | None = None,
    padding: int = 0,
    **changes: object,
) -> IkeConfig:
    changes.setdefault("verifier", Verifier())
    return config(ike, esp, psk=None, certificate=machine(common, key, padding=padding), **changes)


def retell(datagram: Datagram, data: bytes) -> Datagram:
    return Datagram(datagram.local, datagram.remote, data)
