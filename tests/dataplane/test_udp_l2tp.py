"""The UDP and L2TP headers inside ESP."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from tests.dataplane.world import CBC, REMOTE, ip4, ip4_out, world
from tests.oracle import esp, l2tp

from headrace.dataplane.native import lib
from headrace.dataplane.tables import PeerConfig, SessionConfig
from headrace.model import Endpoint

FRAME = l2tp.ppp(0x21, ip4())


def test_n073_udp_lengths_and_ports() -> None:
    with world() as w:
        data = l2tp.data(1, 1, FRAME)
        for length in (0, 1, 7, 8 + len(data) + 1, 65535):
            assert w.decap1(w.theirs.seal(l2tp.udp(data, length=length)))[0] == "drop_udp_length"
        for size in range(8):
            assert w.decap1(w.theirs.seal(l2tp.udp(data)[:size]))[0] == "drop_udp_length"
        for port in (0, 500, 1700, 1702, 65535):
            assert w.decap1(w.theirs.seal(l2tp.udp(data, 1701, port)))[0] == "drop_selector"
        assert w.decap1(w.theirs.seal(l2tp.udp(data, 40000, 1701)))[0] == "ok", "an ephemeral source port is the peer's right"


def test_n074_udp_checksums_do_not_matter() -> None:
    with world() as w:
        data = l2tp.data(1, 1, FRAME)
        for checksum in (0, 1, 0xBEEF, 0xFFFF):
            assert w.decap1(w.theirs.seal(l2tp.udp(data, checksum=checksum))) == ("ok", ip4())


def test_our_own_ephemeral_port() -> None:
    with world() as w:
        w.plane.update_peer(w.peer, PeerConfig(REMOTE, udp_encap=True, l2tp_port=50999))
        data = l2tp.data(1, 1, FRAME)
        assert w.decap1(w.theirs.seal(l2tp.udp(data)))[0] == "drop_selector"
        assert w.decap1(w.theirs.seal(l2tp.udp(data, 1701, 50999)))[0] == "ok"
        w.update(l2tp_local_port=50999)
        assert w.unwrap(w.encap([ip4_out()])[0][1]) == l2tp.ppp(0x21, ip4_out())


def inside(message: bytes) -> bytes:
    return l2tp.udp(message)


def test_data_headers_of_every_form() -> None:
    for with_length in (False, True):
        for ns in (None, 0):
            for offset in (None, 0, 1, 7):
                for extra in (0, 0x3000, 0x00F0, 0x0400):
                    message = l2tp.data(
                        1, 1, FRAME, with_length=with_length, ns=ns, offset=offset, priority=bool(extra), reserved=extra
                    )
                    with world() as fresh:
                        assert fresh.decap1(fresh.theirs.seal(inside(message))) == ("ok", ip4())


def test_data_headers_that_are_none() -> None:
    with world() as w:

        def status(message: bytes) -> str:
            return w.decap1(w.theirs.seal(inside(message)))[0]

        for size in range(6):
            assert status(l2tp.data(1, 1, b"")[:size]) == "drop_l2tp_header", size
        for version in (0, 1, 3, 4, 15):
            assert status(struct.pack("!H", version) + l2tp.data(1, 1, FRAME)[2:]) == "drop_l2tp_header", version
        full = l2tp.data(1, 1, b"", ns=0, with_length=True, offset=0)
        for size in range(6, len(full)):
            assert status(full[:size]) == "drop_l2tp_header", size
        assert status(full) == "drop_ppp_short"


def test_data_length_fields() -> None:
    with world() as w:

        def result(length: int, tail: bytes = b"") -> tuple[str, bytes]:
            return w.decap1(w.theirs.seal(inside(l2tp.data(1, 1, FRAME, length=length) + tail)))

        whole = 8 + len(FRAME)
        for length in (0, 1, 7, whole + 1, 65535):
            assert result(length)[0] == "drop_l2tp_length", length
        assert result(whole, b"tail that is ignored") == ("ok", ip4())
        assert result(8)[0] == "drop_ppp_short"


def test_n093_offset_past_the_end() -> None:
    with world() as w:
        base = struct.pack("!HHHH", 0x0202, 1, 1, 0)
        for offset in (1, 100, 65535):
            message = base[:6] + struct.pack("!H", offset)
            assert w.decap1(w.theirs.seal(inside(message)))[0] == "drop_l2tp_offset"
        message = base[:6] + struct.pack("!H", 65535) + FRAME
        assert w.decap1(w.theirs.seal(inside(message)))[0] == "drop_l2tp_offset"
        short = l2tp.data(1, 1, b"", offset=4, length=10 + 3) + b"\0" * 100
        assert w.decap1(w.theirs.seal(inside(short)))[0] == "drop_l2tp_offset", "the length field ends the message"


def test_control_headers_that_are_none() -> None:
    with world() as w:

        def status(message: bytes) -> str:
            return w.decap1(w.theirs.seal(inside(message)))[0]

        for flags in (0x8002, 0x8802, 0xC002, 0xC801, 0xC800, 0xC80F):
            assert status(l2tp.control(flags=flags)) == "drop_l2tp_header"
        for size in range(12):
            assert status(l2tp.control()[:size]) == "drop_l2tp_header"
        good = l2tp.control(body=b"12345678")
        for length in (0, 11, len(good) + 1, 65535):
            assert status(good[:2] + struct.pack("!H", length) + good[4:]) == "drop_l2tp_length"
        assert w.decap1(w.theirs.seal(inside(good + b"tail"))) == ("exc_l2tp", good)
        version3 = l2tp.control(flags=0xC803)
        assert w.decap1(w.theirs.seal(inside(version3))) == ("exc_l2tp", version3), "deserves an answer"


def test_n113_data_for_no_session() -> None:
    with world() as w:
        for tunnel, session in ((1, 0), (0, 1), (0, 0), (1, 2), (2, 1), (65535, 65535)):
            assert w.decap1(w.theirs.seal(inside(l2tp.data(tunnel, session, FRAME))))[0] == "drop_l2tp_session"
        w.plane.remove_session(w.session)
        assert w.decap1(w.wire(ip4()))[0] == "drop_l2tp_session"


def test_n078_through_the_sa_of_another() -> None:
    with world() as w:
        other = w.plane.add_peer(PeerConfig(Endpoint.of("198.51.100.8", 4500), udp_encap=True))
        theirs = esp.Sa(CBC.keys(0x5000, outbound=False))
        w.plane.add_sa(other, theirs.keys)
        assert w.decap1(theirs.seal(inside(l2tp.data(1, 1, FRAME))))[0] == "drop_wrong_sa"
        assert w.plane.session_stats(w.session).rx_packets == 0
        assert w.plane.session_stats(w.session).last_rx_ns == 0
        assert w.decap1(w.wire(ip4()))[0] == "ok"


def test_n114_numbered_data() -> None:
    with world() as w:

        def send(ns: int | None) -> str:
            return w.decap1(w.theirs.seal(inside(l2tp.data(1, 1, FRAME, ns=ns))))[0]

        late = "drop_l2tp_sequence"
        assert [send(ns) for ns in (0, 1, 2, 2, 1, 0, 3)] == ["ok", "ok", "ok", late, late, late, "ok"]
        assert [send(ns) for ns in (10, 9, 11)] == ["ok", late, "ok"], "a gap forward is accepted, what was overtaken is not"
        assert send(None) == "ok", "not numbered, and that is allowed"
        assert send((11 + 32768) & 0xFFFF) == "ok", "the farthest that is still ahead"
        assert send(11) == "ok", "and again: now this is ahead"
        assert send(11 - 32767 & 0xFFFF) == late
        assert [send(ns) for ns in (65534, 65535, 0, 1)] == [late] * 4
        for ns in range(12, 60):
            assert send(ns) == "ok"


def test_a_peer_that_begins_anew_is_believed_after_a_while() -> None:
    with world() as w:

        def send(ns: int) -> str:
            return w.decap1(w.theirs.seal(inside(l2tp.data(1, 1, FRAME, ns=ns))))[0]

        assert send(1000) == "ok"
        got = [send(ns) for ns in range(40)]
        assert got == ["drop_l2tp_sequence"] * 15 + ["ok"] * 25
        assert [send(ns) for ns in (3, 5, 7) * 20] == ["drop_l2tp_sequence"] * 60, "disorder is not a new beginning"


def test_numbering_required() -> None:
    with world(require_sequence=True) as w:
        assert w.decap1(w.wire(ip4()))[0] == "drop_l2tp_sequence"
        assert w.decap1(w.theirs.seal(inside(l2tp.data(1, 1, FRAME, ns=0))))[0] == "ok"
        out = [l2tp.parse_data(w.open_esp(packet)).ns for _, packet in w.encap([ip4_out()] * 3)]
        assert out == [0, 1, 2]


def test_the_lac_follows_the_lns() -> None:
    with world(lns=False) as w:

        def numbers() -> list[int | None]:
            return [l2tp.parse_data(w.open_esp(packet)).ns for _, packet in w.encap([ip4_out()] * 2)]

        assert numbers() == [None, None]
        w.decap([w.theirs.seal(inside(l2tp.data(1, 1, FRAME, ns=0)))])
        assert numbers() == [0, 1]
        w.decap([w.wire(ip4())])
        assert numbers() == [None, None]
    with world(lns=True, send_sequence=True) as w:
        w.decap([w.wire(ip4())])
        assert [l2tp.parse_data(w.open_esp(packet)).ns for _, packet in w.encap([ip4_out()])] == [0]


@pytest.mark.parametrize("send_length", [False, True])
@pytest.mark.parametrize("send_sequence", [False, True])
def test_headers_of_ours(send_length: bool, send_sequence: bool) -> None:
    with world(send_length=send_length, send_sequence=send_sequence) as w:
        ((_, packet),) = w.encap([ip4_out()])
        message = w.open_esp(packet)
        data = l2tp.parse_data(message)
        assert data == l2tp.Data(101, 202, 0 if send_sequence else None, len(message) if send_length else None, data.frame)
        assert data.frame == l2tp.ppp(0x21, ip4_out())


def test_sequence_numbers_wrap() -> None:
    with world(send_sequence=True) as w:
        for _ in range(128):
            w.encap([ip4_out(0)] * 512)
        assert [l2tp.parse_data(w.open_esp(packet)).ns for _, packet in w.encap([ip4_out()] * 2)] == [0, 1]


def test_session_config_is_checked() -> None:
    with world() as w:
        for changes in (
            {"local_tunnel": 0},
            {"local_session": 0},
            {"remote_tunnel": 0},
            {"remote_session": 0},
            {"send_mru": 67},
        ):
            fields: dict[str, Any] = {
                "peer": w.peer,
                "local_tunnel": 3,
                "local_session": 3,
                "remote_tunnel": 3,
                "remote_session": 3,
                **changes,
            }
            with pytest.raises(Exception, match="out of range"):
                w.plane.add_session(SessionConfig(**fields))
        assert w.decap1(w.wire(ip4()), lib.HR_KIND_UDP4500)[0] == "ok"
