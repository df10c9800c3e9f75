"""MS-CHAP version 1 (RFC 2433), for clients that know nothing else."""

from __future__ import annotations

import pytest
from tests.ppp.harness import Pair, Script, Store, client_config, codes, server_config

from headrace.errors import Slug
from headrace.model import Encryption
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject, ClientCredentials
from headrace.ppp.events import Authenticated, AuthRequest, Ipv4Up, MppeUp
from headrace.ppp.frame import Proto
from headrace.ppp.mppe import start_keys_v1
from headrace.ppp.mschap_crypto import nt_password_hash

V1 = (AuthMethod.MSCHAP,)


class KeyedStore(Store):
    """Gives keys, as a store does that was told to."""

    def check(self, request: AuthRequest) -> AuthAccept | AuthReject:
        verdict = super().check(request)
        if isinstance(verdict, AuthReject):
            return verdict
        send, receive = start_keys_v1(nt_password_hash("wonderland"), request.challenge)
        return AuthAccept(verdict.username, verdict.address, mppe_send_key=send, mppe_recv_key=receive, mppe_bits=(128,))


def test_no_mppe_without_being_told_so() -> None:
    both = Pair(server_config(auth_methods=V1), client_config(auth_methods=V1)).until(Ipv4Up)
    assert both.server.one(Authenticated).method is AuthMethod.MSCHAP
    assert not both.server.has(MppeUp)
    required = Pair(
        server_config(auth_methods=V1, encryption=Encryption.REQUIRED),
        client_config(auth_methods=V1, encryption=Encryption.OFF),
    ).until_down()
    assert required.server.why is Slug.ENCRYPTION_NO_KEYS


def test_mppe_where_it_was_asked_for_in_so_many_words() -> None:
    settings = {"auth_methods": V1, "mschap_mppe": True, "encryption": Encryption.REQUIRED}
    both = Pair(server_config(**settings), client_config(**settings), KeyedStore()).until(Ipv4Up, MppeUp)
    ours, theirs = both.server.one(MppeUp), both.client.one(MppeUp)
    assert ours.send.bits == theirs.send.bits == 128
    assert ours.send.start_key == ours.receive.start_key == theirs.send.start_key


def test_strengths_that_need_the_lm_hash_are_not_offered() -> None:
    settings = {"auth_methods": V1, "mschap_mppe": True, "encryption": Encryption.REQUIRED, "mppe_bits": (56, 40)}
    both = Pair(server_config(**settings), client_config(**settings), KeyedStore()).until_down()
    assert both.server.why is Slug.ENCRYPTION_STRENGTH


def test_wrong_password() -> None:
    client = client_config(auth_methods=V1, credentials=ClientCredentials("alice", "nope"))
    both = Pair(server_config(auth_methods=V1), client).until_down()
    assert (both.server.why, both.client.why) == (Slug.AUTH_FAILED, Slug.AUTH_FAILED)
    text = next(
        frame.information[4:] for frame in both.server.sent if frame.protocol == Proto.CHAP and frame.information[0] == 4
    )
    assert text.startswith(b"E=691 R=0 C=")
    assert b" V=2" in text
    assert len(text.split(b"C=")[1].split()[0]) == 16


@pytest.mark.parametrize("value", [bytes(49), bytes(48) + b"\2", bytes(48), bytes(50), b""])
def test_response_that_is_worth_nothing(value: bytes) -> None:
    script = Script(server_config(auth_methods=V1))
    (challenge,) = [packet for number, packet in script.lcp() if number == Proto.CHAP]
    assert challenge.data[0] == 8
    assert codes(script.say(Proto.CHAP, 2, challenge.identifier, bytes((len(value),)) + value + b"alice"), Proto.CHAP) == [4]
    assert script.end.has(AuthRequest) is False
