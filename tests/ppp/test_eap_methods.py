"""Every EAP method between our own two ends on a link: over calm and bad networks, with keys that fit."""

from __future__ import annotations

import pytest
from tests.ppp.eap_kit import EapStore, client_tls, eap_client, eap_server, pair, server_tls, user_certificate
from tests.sim import BAD, CALM, Weather

from headrace.errors import Slug
from headrace.model import Encryption
from headrace.ppp.config import AuthMethod
from headrace.ppp.events import Authenticated, Ipv4Up, MppeUp

M = AuthMethod
KEYED = (M.EAP_TLS, M.PEAP, M.EAP_MSCHAP_V2)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("method", KEYED)
@pytest.mark.parametrize("weather", [CALM, BAD], ids=["calm", "bad"])
def test_method_with_mppe(method: AuthMethod, version: str, weather: Weather) -> None:
    server = eap_server(
        method, tls=server_tls(minimum=version, maximum=version), encryption=Encryption.REQUIRED_128, auth_timeout=200.0
    )
    client = eap_client(method, encryption=Encryption.REQUIRED_128, auth_timeout=200.0)
    both = pair(server, client, weather=weather, seed=3).until(Ipv4Up, MppeUp, limit=200)
    assert both.server.one(Authenticated).method is method
    assert both.client.one(Authenticated).method is method
    assert both.server.one(Authenticated).username == "alice"
    ours, theirs = both.server.all(MppeUp)[-1], both.client.all(MppeUp)[-1]
    assert (ours.send.start_key, ours.receive.start_key) == (theirs.receive.start_key, theirs.send.start_key)
    assert ours.send.start_key != ours.receive.start_key


def test_md5_challenge() -> None:
    both = pair(eap_server(M.EAP_MD5), eap_client(M.EAP_MD5)).until(Ipv4Up)
    assert both.server.one(Authenticated).method is M.EAP_MD5


@pytest.mark.parametrize("password", ["wonderland", "nope"])
def test_verdicts_of_mschap_have_the_identifier_of_what_they_judge(password: str) -> None:
    """pppd looks up by it which proof it waits for, and takes any other for a wrong one."""
    both = pair(eap_server(M.EAP_MSCHAP_V2), eap_client(M.EAP_MSCHAP_V2, password=password))
    both.until(Ipv4Up) if password == "wonderland" else both.until_down()
    said, answered = (
        [frame.information for frame in end.sent if frame.protocol == 0xC227 and frame.information[4:5] == b"\x1a"]
        for end in (both.server, both.client)
    )
    (response,) = {packet[6] for packet in answered if packet[5] == 2}
    assert {packet[6] for packet in said if packet[5] in (3, 4)} == {response}


@pytest.mark.parametrize("mru", [128, 576, 1400])
@pytest.mark.parametrize("method", [M.EAP_TLS, M.PEAP])
def test_fragments_fit_the_link(method: AuthMethod, mru: int) -> None:
    server = eap_server(method, mru=mru, max_send_mru=mru)
    both = pair(server, eap_client(method, mru=mru, max_send_mru=mru)).until(Ipv4Up)
    longest = max(
        len(frame.information) for end in (both.server, both.client) for frame in end.sent if frame.protocol == 0xC227
    )
    assert longest <= mru


@pytest.mark.parametrize(
    ("offered", "accepted", "chosen"),
    [
        ((M.EAP_TLS, M.PEAP, M.EAP_MSCHAP_V2, M.EAP_MD5), (M.EAP_MSCHAP_V2,), M.EAP_MSCHAP_V2),
        ((M.EAP_MSCHAP_V2, M.EAP_TLS), (M.EAP_TLS, M.EAP_MSCHAP_V2), M.EAP_MSCHAP_V2),
        ((M.EAP_TLS, M.EAP_MD5, M.PEAP), (M.PEAP, M.EAP_MD5), M.EAP_MD5),
        ((M.MSCHAP_V2, M.EAP_TLS), (M.EAP_TLS,), M.EAP_TLS),
        ((M.EAP_TLS, M.MSCHAP_V2), (M.MSCHAP_V2,), M.MSCHAP_V2),
        ((M.EAP_TLS, M.PAP, M.PEAP), (M.PEAP, M.PAP), M.PEAP),
    ],
)
def test_order_of_preference(offered: tuple[AuthMethod, ...], accepted: tuple[AuthMethod, ...], chosen: AuthMethod) -> None:
    both = pair(eap_server(*offered), eap_client(*accepted)).until(Ipv4Up)
    assert both.server.one(Authenticated).method is chosen
    assert both.client.one(Authenticated).method is chosen


def test_methods_of_one_user() -> None:
    store = EapStore(offer=(M.EAP_MD5, M.EAP_MSCHAP_V2))
    both = pair(eap_server(M.EAP_TLS, M.EAP_MSCHAP_V2, M.EAP_MD5), eap_client(M.EAP_TLS, M.EAP_MSCHAP_V2), store).until(Ipv4Up)
    assert both.server.one(Authenticated).method is M.EAP_MSCHAP_V2


def test_no_common_method_is_said_on_both_sides() -> None:
    both = pair(eap_server(M.EAP_TLS, M.PEAP), eap_client(M.EAP_MD5)).until_down()
    assert both.server.why is Slug.EAP_NO_METHOD
    assert both.client.why is Slug.EAP_NO_METHOD
    assert both.server.down is not None
    assert both.server.down.failure.detail == "the peer's Nak asks for md5 (4), offered here: eap-tls, peap"
    assert both.client.down is not None
    assert "accepted here: eap-md5" in both.client.down.failure.detail


@pytest.mark.parametrize("method", [M.PEAP, M.EAP_MSCHAP_V2, M.EAP_MD5])
def test_wrong_password(method: AuthMethod) -> None:
    both = pair(eap_server(method), eap_client(method, password="nope")).until_down()
    assert both.server.why is Slug.AUTH_FAILED
    assert both.client.why is Slug.AUTH_FAILED


@pytest.mark.parametrize("method", [M.MSCHAP_V2, M.PEAP, M.EAP_MSCHAP_V2])
@pytest.mark.parametrize("weather", [CALM, BAD], ids=["calm", "bad"])
def test_password_change(method: AuthMethod, weather: Weather) -> None:
    store = EapStore(expired={b"alice"})
    server = eap_server(method, auth_timeout=200.0)
    both = pair(server, eap_client(method, new_password="looking-glass", auth_timeout=200.0), store, weather=weather)
    both.until(Ipv4Up, limit=200)
    assert store.users[b"alice"] == "looking-glass"
    assert sum(bool(request.change) for request in store.asked) == 1


@pytest.mark.parametrize("method", [M.MSCHAP_V2, M.PEAP, M.EAP_MSCHAP_V2])
def test_expired_password_without_a_new_one(method: AuthMethod) -> None:
    both = pair(eap_server(method), eap_client(method), EapStore(expired={b"alice"})).until_down()
    assert both.server.why is Slug.PASSWORD_EXPIRED
    assert both.client.why is Slug.PASSWORD_EXPIRED


@pytest.mark.parametrize("method", [M.MSCHAP_V2, M.PEAP, M.EAP_MSCHAP_V2])
def test_new_password_that_is_not_taken_is_709(method: AuthMethod) -> None:
    store = EapStore(expired={b"alice"})
    both = pair(eap_server(method), eap_client(method, new_password="x"), store).until_down()
    assert both.server.why is Slug.PASSWORD_CHANGE
    assert both.client.why is Slug.PASSWORD_CHANGE
    assert store.users[b"alice"] == "wonderland"


def test_sessions_are_not_resumed() -> None:
    factory = client_tls(user_certificate())
    server = server_tls()
    for _ in range(2):
        both = pair(eap_server(M.EAP_TLS, tls=server), eap_client(M.EAP_TLS, tls=factory)).until(Ipv4Up)
        assert len([request for request in both.server.store.asked if request.method is M.EAP_TLS]) == 1  # type: ignore[union-attr]
