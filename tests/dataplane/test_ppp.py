"""PPP frames: outer forms, what is user data, what goes to the control plane."""

from __future__ import annotations

from tests.dataplane.world import OWN6, World, ip4, ip4_out, world
from tests.oracle import ip, l2tp

from headrace.dataplane.native import NONE, lib
from headrace.model import MppePolicy

LCP = b"\xc0\x21\x01\x01\x00\x04"


def test_user_data_in_every_form() -> None:
    with world() as w:
        for acfc in (False, True):
            for pfc in (False, True):
                for protocol, packet in ((0x21, ip4()), (0x57, ip.ip6(b"12345"))):
                    frame = l2tp.ppp(protocol, packet, acfc=acfc, pfc=pfc)
                    assert w.decap1(w.theirs.seal(w.frame_in(frame))) == ("ok", packet)


def test_frames_for_the_control_plane() -> None:
    with world() as w:
        for frame, protocol, seen in (
            (b"\xff\x03" + LCP, 0xC021, LCP),
            (LCP, 0xC021, LCP),
            (b"\x80\x21\x01\x01\x00\x04", 0x8021, None),
            (b"\xff\x03\x00\x2b" + bytes(30), 0x002B, b"\x00\x2b" + bytes(30)),
            (b"\x2b" + bytes(30), 0x002B, b"\x00\x2b" + bytes(30)),
            (b"\xc0\x22x", 0xC022, None),
            (b"\xff\x03\xff\xff\xff", 0x00FF, b"\x00\xff\xff\xff"),
            (b"\xc0\x21", 0xC021, None),
        ):
            assert w.decap1(w.theirs.seal(w.frame_in(frame))) == ("exc_ppp", seen or frame)
            desc = w.batch.desc[0]
            assert (int(desc["ppp_proto"]), int(desc["session"]), int(desc["peer"])) == (protocol, w.session, w.peer)
            assert w.batch.kinds() == ["ppp"]
        assert w.plane.session_stats(w.session).rx_packets == 0
        assert w.plane.session_stats(w.session).last_rx_ns == w.now


def test_frames_too_short() -> None:
    with world() as w:
        for frame in (b"", b"\xff\x03", b"\xc0", b"\xff\x03\x80"):
            assert w.decap1(w.theirs.seal(w.frame_in(frame)))[0] == "drop_ppp_short"
        for frame in (b"\x21", b"\x00\x21", b"\xff\x03\x00\x57"):
            assert w.decap1(w.theirs.seal(w.frame_in(frame)))[0] == "drop_ip_malformed"


def test_forms_that_are_never_negotiated() -> None:
    with world() as w:
        for frame in (b"\x00\x2d" + bytes(40), b"\x2f" + bytes(40), b"\xff\x04\x00\x21" + ip4(), b"\xff\x21" + ip4()):
            assert w.decap1(w.theirs.seal(w.frame_in(frame)))[0] == "drop_ppp_header"


def test_user_data_before_its_protocol_is_open() -> None:
    with world(open4=False, open6=True) as w:
        assert w.decap1(w.wire(ip4()))[0] == "drop_ppp_not_open"
        assert w.encap([ip4_out()])[0][0] == "drop_ppp_not_open"
        six = w.theirs.seal(w.frame_in(l2tp.ppp(0x57, ip.ip6(b""))))
        assert w.decap1(six)[0] == "ok"
        w.update(open4=True, open6=False)
        assert w.decap1(w.wire(ip4()))[0] == "ok"
        assert w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(0x57, ip.ip6(b"")))))[0] == "drop_ppp_not_open"


def test_n152_ip_that_is_none() -> None:
    with world() as w:
        good = ip4()
        for packet in (
            bytes([0x44]) + good[1:],
            good[:2] + bytes(2) + good[4:],
            bytes([0x65]) + good[1:],
            bytes([0x05]) + good[1:],
            good[:2] + (len(good) + 1).to_bytes(2) + good[4:],
            good[:2] + (19).to_bytes(2) + good[4:],
            good[:19],
            bytes([0x4F]) + good[1:2] + (59).to_bytes(2) + good[4:],
            ip.ip6(b"x"),
            b"",
        ):
            assert w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(0x21, packet))))[0] == "drop_ip_malformed"
        six = ip.ip6(b"12345678")
        for packet in (six[:39], six[:-1], bytes([0x45]) + six[1:], good, b"\x60"):
            assert w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(0x57, packet))))[0] == "drop_ip_malformed"
        assert w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(0x57, six + b"padding")))) == ("ok", six)
        assert w.plane.session_stats(w.session).rx_dropped == 15


def test_forms_of_ours_as_negotiated() -> None:
    for acfc in (False, True):
        for pfc in (False, True):
            with world(send_acfc=acfc, send_pfc=pfc) as w:
                assert w.unwrap(w.encap([ip4_out()])[0][1]) == l2tp.ppp(0x21, ip4_out(), acfc=acfc, pfc=pfc)
                six = ip.ip6(b"1", "2001:db8:5::1", "2001:db8:9::1")
                assert w.unwrap(w.encap([six])[0][1]) == l2tp.ppp(0x57, six, acfc=acfc, pfc=pfc)
                frames = [LCP, b"\xc2\x23\x01", b"\x80\x21\x05"]
                got = [w.unwrap(packet) for _, packet in w.encap(frames, lib.HR_KIND_PPP)]
                short = b"" if acfc else b"\xff\x03"
                assert got == [b"\xff\x03" + LCP, short + frames[1], short + frames[2]], "LCP always in full"


def test_control_frames_are_sent_before_anything_is_open() -> None:
    with world(open4=False, open6=False, send_mru=100) as w:
        assert w.encap([LCP], lib.HR_KIND_PPP)[0][0] == "ok"
        assert [s for s, _ in w.encap([b"", b"\xc0"], lib.HR_KIND_PPP)] == ["drop_ppp_short"] * 2
        assert [s for s, _ in w.encap([b"\xc0\x21" + bytes(100), b"\xc0\x21" + bytes(101)], lib.HR_KIND_PPP)] == [
            "ok",
            "drop_ppp_mru",
        ]
        assert w.encap([LCP], lib.HR_KIND_PPP, session=6)[0][0] == "drop_l2tp_session"
        assert w.encap([LCP], lib.HR_KIND_PPP, session=NONE)[0][0] == "drop_l2tp_session"


def test_user_data_does_not_pass_encryption_by_as_a_frame() -> None:
    with world(mppe_policy=MppePolicy.REQUIRED) as w:
        for frame in (b"\x00\x21" + ip4(), b"\x21" + ip4(), b"\x00\xfa"):
            assert w.encap([frame], lib.HR_KIND_PPP)[0][0] == "drop_mppe_not_open"
        assert w.encap([LCP], lib.HR_KIND_PPP)[0][0] == "ok"


def test_a_network_protocol_of_the_control_plane_is_encrypted_as_ip_is() -> None:
    ipx = b"\x00\x2b" + bytes(range(30))
    with world(mppe_policy=MppePolicy.WHEN_OPEN, send_mru=100) as w:
        assert w.unwrap(w.encap([ipx], lib.HR_KIND_PPP)[0][1]) == l2tp.ppp(0x2B, ipx[2:])
        w.open_mppe()
        encrypted, control = (w.unwrap(packet) for _, packet in w.encap([ipx, LCP], lib.HR_KIND_PPP))
        assert encrypted.startswith(b"\xff\x03\x00\xfd")
        assert ipx[2:] not in encrypted
        assert len(encrypted) == 2 + 2 + 2 + len(ipx)
        assert control == b"\xff\x03" + LCP
        sizes = [w.encap([b"\x00\x2b" + bytes(size)], lib.HR_KIND_PPP)[0][0] for size in (96, 97)]
        assert sizes == ["ok", "drop_ppp_mru"]


def wire6(w: World, packet: bytes) -> bytes:
    return w.theirs.seal(w.frame_in(l2tp.ppp(0x57, packet)))


def test_ipv6_that_stays_on_its_link_is_for_the_control_plane() -> None:
    with world() as w:
        for to in ("ff02::1", "ff02::1:2", "ff01::1", "fe80::1", "febf::9"):
            packet = ip.ip6(b"RS", "fe80::2", to)
            assert w.decap1(wire6(w, packet))[:2] == ("exc_ppp", b"\x00\x57" + packet), to
        packet = ip.ip6(b"on", str(OWN6[5]), "ff05::2")
        assert w.decap1(wire6(w, packet))[:2] == ("ok", packet)
        assert w.decap1(wire6(w, ip.ip6(b"a", "fe80::2", "2001:db8::1")))[0] == "drop_spoofed_source"
        assert w.decap1(wire6(w, packet[:39]))[0] == "drop_ip_malformed"
    with world(open6=False) as w:
        assert w.decap1(wire6(w, ip.ip6(b"RS", "fe80::2", "ff02::1")))[0] == "drop_ppp_not_open"
