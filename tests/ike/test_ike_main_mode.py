"""Main and quick mode back to back: every cipher, hash and group, both ways to authenticate, calm and bad weather."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from tests.ike.harness import CLIENT, PSK, SERVER, Pair, Verifier, authority, cert_config, config, ec_key, issue, machine
from tests.sim import Weather

from headrace.errors import Slug
from headrace.esp.group import Group
from headrace.ike import events
from headrace.ike.config import LocalCertificate
from headrace.model import Endpoint, Failure

CIPHERS = ("aes128", "aes192", "aes256", "3des", "des")
HASHES = ("md5", "sha1", "sha256", "sha384", "sha512")


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("digest", HASHES)
def test_every_cipher_and_hash(cipher: str, digest: str) -> None:
    suite = f"{cipher}-{digest}-ecp256"
    pair = Pair(config(suite), config(suite)).connect()
    assert pair.server.last(events.PeerUp).proposal == suite
    assert pair.client.last(events.PeerUp).proposal == suite


@pytest.mark.parametrize("group", list(Group))
def test_every_group(group: Group) -> None:
    suite = f"aes256-sha256-{group.keyword}"
    assert Pair(config(suite), config(suite)).connect().client.last(events.PeerUp).proposal == suite


@pytest.mark.parametrize(
    "esp", ["aes128-sha1", "aes192-sha256", "aes256-sha384", "aes256-sha512", "aes128-md5", "3des-sha1", "des-md5"]
)
def test_esp_transforms(esp: str) -> None:
    pair = Pair(config(esp=esp), config(esp=esp)).connect()
    assert pair.server.last(events.ChildUp).proposal == esp


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_esp_gcm_has_key_and_salt_and_no_authentication_key(bits: int) -> None:
    pair = Pair(config(esp=f"aes{bits}gcm16"), config(esp=f"aes{bits}gcm16")).connect()
    (keys,) = pair.server.data.inbound.values()
    assert (len(keys.enc_key), keys.auth_key) == (bits // 8 + 4, b"")


@pytest.mark.parametrize("group", [Group.MODP1024, Group.MODP2048, Group.ECP256, Group.ECP521])
def test_perfect_forward_secrecy(group: Group) -> None:
    esp = f"aes256-sha256-{group.keyword}"
    pair = Pair(config(esp=esp, pfs=True), config(esp=esp)).connect()
    assert pair.server.last(events.ChildUp).proposal == esp


def test_events_and_their_order() -> None:
    pair = Pair().connect()
    for side, initiator in ((pair.client, True), (pair.server, False)):
        kinds = [type(event).__name__ for event in side.events]
        assert kinds == ["PeerUp", "InstallSa", "InstallSa", "ChildUp"]
        up = side.last(events.PeerUp)
        assert (up.initiator, up.auth, up.nat_local, up.nat_remote) == (initiator, "psk", False, False)
        inbound, outbound = side.all(events.InstallSa)
        assert (inbound.keys.outbound, outbound.keys.outbound) == (False, True)
        assert inbound.local_selector_port == inbound.remote_selector_port == 1701
        assert inbound.remote.port == 0
        assert side.last(events.ChildUp).rekey is False
    assert pair.server.last(events.PeerUp).remote == Endpoint(CLIENT, 500)
    assert pair.server.last(events.PeerUp).remote_id == str(CLIENT)
    assert pair.client.last(events.PeerUp).remote_id == str(SERVER)
    assert (pair.client.ike.stats().peers, pair.client.ike.stats().children, pair.server.ike.stats().half_open) == (1, 1, 0)


def test_inbound_is_installed_before_the_message_that_reveals_it() -> None:
    pair = Pair()
    pair.dial()
    steps = []
    with pair.sim:
        while not pair.up():
            pair.sim.step(pair.now + 10)
            steps.append((len(pair.server.data.inbound), sum(d.data[18] == 32 for _, right, d in pair.wire if not right)))
    assert all(installed >= revealed for installed, revealed in steps)


def test_rsa_certificates() -> None:
    verifier = Verifier()
    client, server = cert_config("client", remote_names=("vpn.example",), verifier=verifier), cert_config("server")
    pair = Pair(client, server).connect()
    up = pair.server.last(events.PeerUp)
    assert up.auth == "cert"
    assert "client" in up.remote_id
    assert verifier.seen[0][1] == ["vpn.example"]


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_ecdsa_certificates(curve: type[ec.EllipticCurve]) -> None:
    one, two = ec_key(1, curve), ec_key(2, curve)
    pair = Pair(
        cert_config("client", "aes128-sha1-ecp256", key=one), cert_config("server", "aes128-sha1-ecp256", key=two)
    ).connect()
    assert pair.client.last(events.PeerUp).auth == "cert"


def test_certificates_come_before_the_pre_shared_key_where_both_are_there() -> None:
    client, server = cert_config("client", psk_for=lambda _r: PSK), cert_config("server", psk_for=lambda _r: PSK)
    assert Pair(client, server).connect().server.last(events.PeerUp).auth == "cert"


def test_pre_shared_key_where_only_one_side_has_a_certificate() -> None:
    assert Pair(cert_config("client", psk_for=lambda _r: PSK), config()).connect().server.last(events.PeerUp).auth == "psk"


def test_responder_takes_the_initiators_first_choice() -> None:
    client = config("aes128-sha1-modp2048,aes256-sha256-ecp256")
    server = config("aes256-sha256-ecp256,aes128-sha1-modp2048")
    assert Pair(client, server).connect().server.last(events.PeerUp).proposal == "aes128-sha1-modp2048"


def test_own_identity_with_a_certificate_is_its_subject() -> None:
    pair = Pair(cert_config("client"), cert_config("server")).connect()
    assert pair.client.last(events.PeerUp).remote_id == "CN=server,O=Headrace tests"


@pytest.mark.parametrize("seed", range(12))
def test_bad_weather(seed: int) -> None:
    weather = Weather(loss=0.15, duplicate=0.15, reorder=0.25, jitter=0.02)
    Pair(weather=weather, seed=seed, client_nat=bool(seed % 2)).connect(limit=400)


@pytest.mark.parametrize("seed", range(4))
def test_bad_weather_with_fragmented_certificates(seed: int) -> None:
    weather = Weather(loss=0.1, duplicate=0.15, reorder=0.25, jitter=0.02)
    client = cert_config("client", padding=40, fragment_size=600)
    server = cert_config("server", padding=40, fragment_size=600)
    pair = Pair(client, server, weather=weather, seed=seed).connect(limit=400)
    assert max(len(d.data) for _, _, d in pair.wire if d.data[16] == 132) <= 600


# -- failures as the initiator sees them


def test_no_answer() -> None:
    pair = Pair(tap=lambda _now, _right, _d: None)
    pair.dial()
    pair.run(120)
    (failure,) = pair.client.failures()
    assert failure.slug is Slug.IKE_NO_ANSWER
    assert pair.client.last(events.PeerDown) == events.PeerDown(pair.handle, failure)
    assert len(pair.wire) == 6
    assert pair.client.ike.deadline() is None
    assert pair.client.ike.stats().peers == 0


def test_no_proposal_is_told_to_both_sides() -> None:
    pair = Pair(config("aes256-sha1-modp1024"), config("aes256-sha1-modp2048"))
    pair.dial()
    pair.run(60)
    server, client = pair.server.failures()[0], pair.client.failures()[0]
    assert server.slug is client.slug is Slug.IKE_NO_PROPOSAL
    assert "only the group is not allowed" in server.detail
    assert 'policy = "legacy" would accept it' in server.detail
    assert "NO-PROPOSAL-CHOSEN" in client.detail
    assert pair.client.ike.stats().peers == 0


def test_wrong_pre_shared_key_is_told_to_both_sides() -> None:
    pair = Pair(config(psk=b"one"), config(psk=b"another"))
    pair.dial()
    pair.run(120)
    assert set(pair.server.slugs()) == {Slug.PSK_MISMATCH}
    assert pair.server.failures()[0].detail == "message 5 decrypts to garbage: the pre-shared keys differ"
    assert pair.client.slugs() == [Slug.PSK_MISMATCH]
    assert not any(right is False and d.data[18] == 5 for _, right, d in pair.wire), "never an oracle"


def test_gateway_without_key_for_the_client() -> None:
    pair = Pair(config(), config(psk=None, certificate=machine("server"), verifier=Verifier()))
    pair.dial()
    pair.run(30)
    assert set(pair.server.slugs()) == {Slug.PSK_NONE}
    assert "pre-shared key" in pair.server.failures()[0].detail


def test_client_without_certificate_and_gateway_without_key() -> None:
    pair = Pair(cert_config("client"), config())
    pair.dial()
    pair.run(30)
    assert set(pair.server.slugs()) == {Slug.CERT_NONE}


def test_nothing_to_authenticate_with() -> None:
    pair = Pair(config(psk=None))
    handle = pair.dial()
    assert pair.client.slugs() == [Slug.PSK_NONE]
    assert pair.client.last(events.PeerDown).peer == handle


def test_gateway_refuses_the_clients_certificate() -> None:
    other, _ = authority("Other CA")
    pair = Pair(cert_config("client"), cert_config("server", verifier=Verifier(other)))
    pair.dial()
    pair.run(60)
    assert pair.server.slugs() == [Slug.CERT_UNKNOWN_CA]
    assert pair.client.slugs() == [Slug.OUR_CERT_REFUSED]
    assert pair.client.last(events.PeerDown).peer == pair.handle


def test_client_refuses_the_gateways_certificate() -> None:
    other, _ = authority("Other CA")
    pair = Pair(cert_config("client", verifier=Verifier(other)), cert_config("server"))
    pair.dial()
    pair.run(60)
    assert pair.client.slugs() == [Slug.CERT_UNKNOWN_CA]
    assert pair.server.slugs() == [Slug.OUR_CERT_REFUSED]
    assert pair.server.ike.stats().peers == pair.client.ike.stats().peers == 0


def test_client_that_deletes_phase_1_instead_of_going_on_refused_our_certificate() -> None:
    pair = Pair(cert_config("client"), cert_config("server"))
    pair.dial()
    peer = pair.client.ike._peers[pair.handle]
    peer._wanted.clear()
    pair.run(1)
    pair.client.ike.close_peer(pair.handle, Failure(Slug.USER_REQUEST), pair.now)
    pair.run(1)
    assert pair.server.last(events.PeerDown).failure.slug is Slug.OUR_CERT_REFUSED


def test_a_complaint_in_clear_explains_the_silence() -> None:
    """A client that finds our message 4 bad may say so in clear, and fall silent."""
    from headrace.ike.constants import Exchange, NotifyType, PayloadType
    from headrace.ike.message import Header, emit_message
    from headrace.ike.payloads import Notify
    from headrace.model import Datagram

    pair = Pair(tap=lambda _now, right, d: None if right and d.data[19] & 1 else d)
    pair.dial()
    pair.run(0.5)
    (negotiation,) = pair.server.ike._half_open.values()
    data = emit_message(
        Header(*negotiation.cookies, 0, Exchange.INFORMATIONAL, 0, 5),
        [(PayloadType.NOTIFY, Notify(NotifyType.INVALID_KEY_INFORMATION, 1).emit())],
    )
    pair.server.ike.receive(Datagram(Endpoint(SERVER, 500), Endpoint(CLIENT, 500), data), pair.now)
    assert pair.server.ike.stats().half_open == 1
    pair.run(40)
    assert pair.server.slugs() == [Slug.IKE_KEY_EXCHANGE]


def test_signature_by_another_key() -> None:
    stolen = machine("client", ec_key(5))
    forged = replace(
        cert_config("client", "aes128-sha1-ecp256", key=ec_key(6)), certificate=LocalCertificate(ec_key(6), stolen.chain)
    )
    pair = Pair(forged, cert_config("server", "aes128-sha1-ecp256", key=ec_key(7)))
    pair.dial()
    pair.run(60)
    assert pair.server.slugs() == [Slug.SIG_BAD]
    assert pair.client.slugs() == [Slug.OUR_AUTH_REFUSED]


def test_no_esp_proposal_is_told_to_both_sides() -> None:
    pair = Pair(config(esp="3des-sha1"), config(esp="aes256-sha1"))
    pair.dial()
    pair.run(60)
    assert pair.server.slugs() == [Slug.ESP_NO_PROPOSAL]
    assert 'policy = "legacy" would accept it' in pair.server.failures()[0].detail
    assert pair.client.slugs()[0] is Slug.ESP_NO_PROPOSAL
    assert pair.client.last(events.PeerDown).failure.slug is Slug.ESP_NO_PROPOSAL
    assert pair.server.last(events.PeerDown).failure.slug is Slug.PEER_DELETED
    assert "before it asked for an ESP SA" in pair.server.last(events.PeerDown).failure.detail


def test_gateway_that_never_answers_quick_mode() -> None:
    pair = Pair(tap=lambda _now, right, d: None if d.data[18] == 32 else d)
    pair.dial()
    pair.run(200)
    assert pair.client.slugs() == [Slug.ESP_TIMEOUT]
    assert pair.client.last(events.PeerDown).failure.slug is Slug.ESP_TIMEOUT


def test_client_that_never_asks_for_esp() -> None:
    pair = Pair(tap=lambda _now, right, d: None if right and d.data[18] in {32, 5} else d)
    pair.dial()
    pair.run(90)
    assert pair.server.last(events.PeerDown).failure.slug is Slug.ESP_TIMEOUT


def test_hint_in_clear_does_not_kill_a_negotiation_that_goes_on() -> None:
    from headrace.ike.constants import Exchange, NotifyType, PayloadType
    from headrace.ike.message import Header, emit_message
    from headrace.ike.payloads import Notify

    pair = Pair()
    pair.dial()
    first = pair.client.drain()
    forged = emit_message(
        Header(first[0].data[:8], b"\7" * 8, 0, Exchange.INFORMATIONAL, 0, 99),
        [(PayloadType.NOTIFY, Notify(NotifyType.NO_PROPOSAL_CHOSEN, 1).emit())],
    )
    pair.client.ike.receive(first[0].__class__(Endpoint(CLIENT, 500), Endpoint(SERVER, 500), forged), pair.now)
    with pair.sim:
        pair.sim.run_until(pair.up, limit=30)


def test_certificate_whose_name_is_not_the_identity() -> None:
    from headrace.ike.auth_cert import check_named
    from headrace.ike.payloads import Identification
    from headrace.ike.refusal import Refuse

    certificate = issue(
        "vpn", ec_key(3), names=[x509.DNSName("vpn.example"), x509.RFC822Name("a@example"), x509.IPAddress(SERVER)]
    )
    good = [
        Identification(9, 0, 0, certificate.subject.public_bytes()),
        Identification(2, 0, 0, b"VPN.example"),
        Identification(3, 0, 0, b"a@example"),
        Identification(1, 0, 0, SERVER.packed),
    ]
    bad = [
        Identification(9, 0, 0, issue("other", ec_key(3)).subject.public_bytes()),
        Identification(2, 0, 0, b"other.example"),
        Identification(2, 0, 0, b"vpn"),
        Identification(1, 0, 0, CLIENT.packed),
        Identification(11, 0, 0, b"key"),
    ]
    for identity in good:
        check_named(identity, certificate)
    for identity in bad:
        with pytest.raises(Refuse) as refused:
            check_named(identity, certificate)
        assert refused.value.failure.slug is Slug.IKE_ID
    check_named(Identification(2, 0, 0, b"plain.example"), issue("plain.example", ec_key(3)))


def test_keys_are_shown_only_on_request() -> None:
    assert not Pair().connect().client.all(events.Keys)
    pair = Pair(config(keylog=True), config(keylog=True)).connect()
    assert pair.client.last(events.Keys) == pair.server.last(events.Keys)
    assert pair.client.last(events.Keys).key.hex() not in repr(pair.client.last(events.Keys))


def test_closing_deletes_esp_before_isakmp() -> None:
    pair = Pair().connect()
    before = len(pair.wire)
    failure = Failure(Slug.USER_REQUEST, "bye")
    pair.client.ike.close_peer(pair.handle, failure, pair.now)
    pair.run(5)
    assert pair.client.last(events.PeerDown) == events.PeerDown(pair.handle, failure)
    assert pair.server.last(events.PeerDown).failure.slug is Slug.PEER_DELETED
    assert [d.data[18] for _, right, d in pair.wire[before:] if right] == [5, 5]
    kinds = [type(event).__name__ for event in pair.server.events[-3:]]
    assert kinds == ["RemoveSa", "RemoveSa", "PeerDown"]
    assert pair.client.ike.deadline() is None and pair.server.ike.deadline() is None
    assert not pair.server.ike._by_cookies and not pair.server.ike._by_identity and not pair.server.ike._ctx.spis


def test_nothing_to_offer() -> None:
    for wrong in (replace(config(), proposals=()), replace(config(), esp_proposals=())):
        pair = Pair(wrong)
        pair.dial()
        assert pair.client.slugs() == [Slug.IKE_NO_PROPOSAL]
        assert pair.client.ike.stats().peers == 0


def test_unknown_handles_are_ignored() -> None:
    pair = Pair()
    ike = pair.client.ike
    ike.close_peer(99, Failure(Slug.ADMIN), 0)
    ike.esp_activity(99, 0)
    ike.esp_moved(99, Endpoint(CLIENT, 1), 0)
    ike.soft_limit(99, 1, 0)
    ike.rekey_child(99, 0)
    ike.rekey_peer(99, 0)
    assert pair.client.drain() == []


def test_many_clients_at_one_gateway() -> None:
    gateway = Pair()
    clients = [Pair(seed=seed) for seed in range(20)]
    for number, client in enumerate(clients):
        here = Endpoint(CLIENT, 1000 + number)
        client.client.ike.initiate(here, Endpoint(SERVER, 500), 1.0)
        for _ in range(6):
            for datagram in client.client.drain():
                gateway.server.ike.receive(type(datagram)(datagram.remote, datagram.local, datagram.data), 1.0)
            for datagram in gateway.server.drain():
                client.client.ike.receive(type(datagram)(datagram.remote, datagram.local, datagram.data), 1.0)
    assert gateway.server.ike.stats().peers == 20
    assert gateway.server.ike.stats().children == 20
    assert len(gateway.server.data.inbound) == 20
    gateway.server.ike.close_all(Failure(Slug.SHUTDOWN), 2.0)
    gateway.server.absorb()
    assert gateway.server.ike.stats().peers == 0 and not gateway.server.data.inbound


def test_reload_is_for_new_negotiations() -> None:
    pair = Pair().connect()
    pair.server.ike.config = config("aes256-sha256-ecp256", "aes256-sha256")
    pair.traffic()
    assert pair.server.ike.config.proposals[0].group is Group.ECP256


def test_cipher_hash_group_cross_product_parses() -> None:
    from headrace.ike.proposal import IkeProposal

    for cipher, digest, group in itertools.product(CIPHERS, HASHES, Group):
        text = f"{cipher}-{digest}-{group.keyword}"
        assert str(IkeProposal.parse(text)) == text
