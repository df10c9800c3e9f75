"""Log lines of five programs, as they write them, and the reasons that they tell of."""

from __future__ import annotations

import io
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Slug
from headrace.inspect.logfile import LINE_MAX, Finding, read_log
from headrace.model import Endpoint, Failure, Rung
from headrace.shell.client import CallFailed
from headrace.shell.events import Refused, refusal_text
from headrace.shell.logs import EventLog


def reason(text: str) -> Finding | None:
    return read_log(io.StringIO(text)).reason


@pytest.mark.parametrize("slug", list(Slug))
def test_every_reason_in_our_own_log_is_found_again(slug: Slug) -> None:
    for as_json in (False, True):
        stream = io.StringIO()
        event = Refused(
            time=0.0, remote=Endpoint.of("203.0.113.9", 500), rung=Rung.ESP, failure=Failure(slug, "seen"), user="al"
        )
        EventLog(stream, as_json=as_json)(event)
        found = reason(stream.getvalue())
        if slug in {Slug.USER_REQUEST, Slug.PEER_DELETED, Slug.PEER_CLOSED}:
            assert found is None
        else:
            assert found is not None
            assert (found.slug, found.program, found.line) == (slug, "headrace", 1)
    called = reason(CallFailed(Failure(slug, "seen"), "192.0.2.1").line())
    assert called is None or called.slug == slug


def test_our_own_line_names_the_reason_and_nothing_in_the_detail() -> None:
    line = refusal_text(
        ip_address("203.0.113.9"), Rung.IKE_AUTH, Failure(Slug.PSK_MISMATCH, 'the peer says "MPPE required but peer refused"')
    )
    found = reason(f"11:22:33 warning {line}\n")
    assert found is not None
    assert found.slug == Slug.PSK_MISMATCH


LINES = (
    # strongSwan 5.9
    ("09[IKE] no IKE config found for 192.0.2.1...192.0.2.2, sending NO_PROPOSAL_CHOSEN", Slug.IKE_NO_PROPOSAL),
    ("11[IKE] received NO_PROPOSAL_CHOSEN error notify", Slug.IKE_NO_PROPOSAL),
    ("05[ENC] invalid HASH_V1 payload length, decryption failed?", Slug.PSK_MISMATCH),
    ("05[ENC] could not decrypt payloads", Slug.PSK_MISMATCH),
    ("07[IKE] calculated HASH does not match HASH payload", Slug.PSK_MISMATCH),
    ("13[IKE] no shared key found for '192.0.2.1'[192.0.2.1] - '192.0.2.2'[192.0.2.2]", Slug.PSK_NONE),
    ("13[CFG] found 1 matching config, but none allows pre-shared key authentication using Main Mode", Slug.IKE_NO_PROPOSAL),
    ("06[CFG] subject certificate invalid (valid from Jan 01 00:00:00 2020 to Jan 01 00:00:00 2021)", Slug.CERT_EXPIRED),
    ("06[CFG] certificate was revoked on Nov 01 10:00:00 UTC 2026, reason: key compromise", Slug.CERT_REVOKED),
    ('06[CFG] no issuer certificate found for "O=Lab, CN=client.lab"', Slug.CERT_UNKNOWN_CA),
    ("12[IKE] Aggressive Mode PSK disabled for security reasons", Slug.IKE_AGGRESSIVE),
    ("12[IKE] no matching CHILD_SA config found", Slug.ESP_SELECTOR),
    ("12[IKE] no matching proposal found, sending NO_PROPOSAL_CHOSEN", Slug.ESP_NO_PROPOSAL),
    ("12[IKE] giving up after 5 retransmits", Slug.IKE_NO_ANSWER),
    ("10[IKE] received AUTHENTICATION_FAILED error notify", Slug.OUR_AUTH_REFUSED),
    # Libreswan
    ('pluto[99]: "l2tp" #1: no acceptable Oakley Transform', Slug.IKE_NO_PROPOSAL),
    (
        'pluto[99]: "l2tp" #1: malformed payload in packet. Probable authentication failure (mismatch of preshared secrets?)',
        Slug.PSK_MISMATCH,
    ),
    ("pluto[99]: \"l2tp\" #1: Can't authenticate: no preshared key found for `192.0.2.1' and `%any'", Slug.PSK_NONE),
    (
        'pluto[99]: "l2tp" #1: max number of retransmissions (8) reached STATE_MAIN_I1.  No response (or no acceptable response) to our first IKE message',
        Slug.IKE_NO_ANSWER,
    ),
    (
        'pluto[99]: "l2tp" #1: max number of retransmissions (8) reached STATE_MAIN_I3.  Possible authentication failure: no acceptable response to our first encrypted message',
        Slug.IKE_TIMEOUT,
    ),
    (
        'pluto[99]: "l2tp" #2: cannot respond to IPsec SA request because no connection is known for 192.0.2.1[17/1701]',
        Slug.ESP_SELECTOR,
    ),
    # xl2tpd 1.3
    ("xl2tpd[338]: Maximum retries exceeded for tunnel 20490.  Closing.", Slug.L2TP_SILENT),
    ("xl2tpd[338]: Host name lookup failed for vpn.example.org", Slug.NAME_UNRESOLVED),
    ("xl2tpd[338]: init_network: Unable to bind socket: Address already in use. Terminating.", Slug.PORT_BUSY),
    # pppd
    ("MPPE required but peer refused", Slug.ENCRYPTION_REFUSED),
    ("MPPE required, but MS-CHAP[v2] auth not performed.", Slug.ENCRYPTION_NO_KEYS),
    ("Peer alice failed CHAP authentication", Slug.AUTH_FAILED),
    ('rcvd [CHAP Failure id=0x14 "E=691 R=1 C=14ec0d85aa2fdabed6636bc6d99a64e1 V=3 M=Access denied"]', Slug.AUTH_FAILED),
    (
        'rcvd [CHAP Failure id=0x14 "E=648 R=0 C=14ec0d85aa2fdabed6636bc6d99a64e1 V=3 M=Password expired"]',
        Slug.PASSWORD_EXPIRED,
    ),
    ("LCP: timeout sending Config-Requests", Slug.LCP_TIMEOUT),
    ("No response to 4 echo-requests", Slug.ECHO_LOST),
    ("peer refused to authenticate: terminating link", Slug.AUTH_NO_COMMON),
    ("Terminating connection due to lack of activity.", Slug.IDLE_TIMEOUT),
    # what Windows sends at the end of a link, in both renderings of pppd
    ("LCP terminated by peer (^AM-^?^@^@^@<M-Mt^@^@^BM-f)", Slug.ENCRYPTION_REFUSED),
    (r'rcvd [LCP TermReq id=0x3 "\001\000\000\000\000<\37777777715t\000\000\002\37777777746"]', Slug.ENCRYPTION_REFUSED),
    # Windows itself
    (
        "CoId={A}: The user SYSTEM dialed a connection named VPN which has failed. The error code returned on failure is 789.",
        Slug.PSK_MISMATCH,
    ),
)


@pytest.mark.parametrize(("line", "slug"), LINES, ids=[str(i) for i in range(len(LINES))])
def test_line_of_another_program(line: str, slug: Slug) -> None:
    found = reason(f"Nov 23 02:33:24 host {line}\n" if line.startswith(("pluto", "xl2tpd")) else f"{line}\n")
    assert found is not None, line
    assert found.slug == slug


# What xl2tpd and pppd write of a call that goes well and is hung up.
NORMAL = """\
xl2tpd[232]: control_finish: message type is Incoming-Call-Connected(12).  Tunnel is 20490, call is 54718.
xl2tpd[232]: control_finish: Warning: Peer did not specify transmit speed
xl2tpd[232]: network_thread: select timeout with max retries: 5 for tunnel: 11228
sent [LCP ConfReq id=0x1 <mru 1400> <asyncmap 0x0> <magic 0x539b3f89>]
rcvd [CHAP Challenge id=0x14 <14ec0d85aa2fdabed6636bc6d99a64e1>, name = "lns"]
CHAP authentication succeeded
02:33:26 11[IKE] IKE_SA l2tp[1] established between 192.0.2.2[192.0.2.2]...192.0.2.1[192.0.2.1]
xl2tpd[232]: network_thread: select returned error 4 (Interrupted system call)
"""


def test_log_without_a_failure() -> None:
    verdict = read_log(io.StringIO(NORMAL))
    assert verdict.lines == NORMAL.count("\n")
    assert verdict.reason is None


def test_cause_before_effect_whatever_their_order() -> None:
    text = "Modem hangup\nTerminating on signal 15\nMPPE required but peer refused\nMPPE required but peer refused\n"
    found = reason(text)
    assert found is not None
    assert (found.slug, found.line, found.count, found.cause) == (Slug.ENCRYPTION_REFUSED, 3, 2, True)


def test_endless_line_is_cut() -> None:
    verdict = read_log(io.StringIO("x" * (5 * LINE_MAX) + "\nPeer alice failed CHAP authentication"))
    assert verdict.lines == 2
    assert verdict.reason is not None
    assert verdict.reason.line == 2


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    for found in read_log(io.StringIO(text)).findings:
        assert found.text.isprintable()
