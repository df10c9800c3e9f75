"""Real captures of strongSwan, xl2tpd and pppd, opened layer by layer; and whatever else a capture may hold."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.inspect.kit import REAL, dissect, keys_of, pcap, real, records

from headrace.inspect.draw import boxes, svg, table
from headrace.inspect.export import Exporter, Form
from headrace.inspect.ip import checksum
from headrace.inspect.keys import Keys, read_esp, read_ike
from headrace.inspect.packet import Packet

CALL = [
    "main mode 1", "main mode 2", "main mode 3", "main mode 4", "main mode 5", "main mode 6",
    "quick mode 1", "quick mode 2", "quick mode 3",
    "SCCRQ", "SCCRP", "SCCCN", "ICRQ", "ICRP", "ICCN", "Challenge", "Response", "Success",
]  # fmt: skip


def order(packets: list[Packet]) -> list[str]:
    return [name for packet in packets for name in CALL if packet.summary.startswith(name) and "repeated" not in packet.summary]


@pytest.mark.parametrize("name", REAL)
def test_every_packet_of_a_real_call_is_opened(name: str) -> None:
    packets = dissect(real(name), keys_of(name))
    assert [packet.problem for packet in packets if packet.problem] == []
    assert order(packets) == CALL
    assert all(packet.esp.opened for packet in packets if packet.esp is not None)
    for packet in packets:
        assert packet.octets == packet.length, packet.number


@pytest.mark.parametrize("name", REAL)
def test_without_keys_the_outside_is_still_told(name: str) -> None:
    packets = dissect(real(name))
    assert [packet.problem for packet in packets if packet.problem] == []
    assert order(packets)[:9] == CALL[:9]
    assert {packet.protocol for packet in packets} == {"ISAKMP", "ESP"}
    for packet in packets:
        assert packet.octets == packet.length


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("name", REAL)
def test_wireshark_sees_the_same_layers(name: str, tmp_path: Path) -> None:
    out = tmp_path / "clear.pcapng"
    packets = dissect(real(name), keys_of(name), clear=True)
    with out.open("wb") as stream:
        exporter = Exporter(stream, Form.PACKETS)
        for packet in packets:
            exporter.feed(packet)
    assert exporter.written == len(packets)
    done = subprocess.run(
        ["tshark", "-n", "-r", str(out), "-T", "fields", "-e", "frame.number", "-e", "frame.protocols", "-e", "_ws.malformed"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == len(packets)
    theirs = {"ISAKMP": "isakmp", "L2TP": "l2tp", "LCP": "lcp", "IPCP": "ipcp", "CCP": "ccp", "CHAP": "chap", "IPV6CP": "ipv6cp", "MPPE": "comp_data", "IPv4": "ip:icmp", "IPv6": "ipv6"}  # fmt: skip
    for packet, (_, protocols, malformed) in zip(packets, rows, strict=True):
        assert theirs[packet.protocol] in protocols, packet.summary
        assert malformed == ""


def test_pre_shared_key_is_checked_against_both_hashes() -> None:
    for psk, words in ((b"labsecret", "HASH proves"), (b"wrong", "HASH does not come from")):
        packets = dissect(real("psk-natt"), keys_of("psk-natt", psk=psk))
        assert [words in packet.summary for packet in packets[4:6]] == [True, True]


def test_password_opens_mppe() -> None:
    packets = dissect(real("mppe128"), keys_of("mppe128", password="wonderland"), clear=True)
    inside = [packet for packet in packets if packet.mppe_opened]
    assert len(inside) == 18
    echoes = [packet for packet in inside if packet.inner and packet.inner[:2] == ("10.99.0.10", "10.99.0.1")]
    assert {packet.inner[2] for packet in echoes if packet.inner} == {84, 1328}
    for packet in inside:
        assert packet.clear_ip is not None
        assert checksum(packet.clear_ip[:20]) == 0
        assert packet.ppp is not None
        assert packet.ppp.emit() in packet.clear_ip
    closed = dissect(real("mppe128"), keys_of("mppe128", password="another"))
    assert [packet.protocol for packet in closed].count("MPPE") == 18


def test_keys_of_another_run_are_told_per_packet() -> None:
    keys = keys_of("cert")
    wrong = keys_of("psk-natt")
    spis = {packet.esp.spi for packet in dissect(real("cert")) if packet.esp}
    for spi, (row,) in zip(sorted(spis), wrong.esp.values(), strict=True):
        keys.esp[spi] = [row]
    problems = {packet.problem for packet in dissect(real("cert"), keys) if packet.esp}
    assert len(problems) == 2
    assert all("ICV does not verify" in problem for problem in problems)


def test_key_log_with_the_wrong_ike_key_names_the_pre_shared_key() -> None:
    keys = keys_of("psk-natt")
    keys.ike = {cookie: bytes(32) for cookie in keys.ike}
    packets = dissect(real("psk-natt"), keys)
    assert "the two pre-shared keys differ" in packets[4].problem


def test_capture_without_main_mode_says_what_it_lacks() -> None:
    packets = dissect(pcap(records(real("psk-natt"))[6:9]), keys_of("psk-natt"))
    assert all("lacks the main mode" in packet.problem for packet in packets)


def test_article_s_picture() -> None:
    packet = dissect(real("cert"), keys_of("cert"))[42]
    names = [layer.name for layer in packet.layers]
    assert names == [
        "Ethernet header", "IP header", "ESP header", "UDP header", "L2TP header", "PPP header", "PPP payload", "ESP trailer",
        "auth trailer",
    ]  # fmt: skip
    assert [layer.name for layer in packet.layers if layer.encrypted] == names[3:8]
    assert [layer.name for layer in packet.layers if layer.authenticated] == names[2:8]
    drawn = boxes(packet.layers)
    assert "|IP header|ESP header|UDP header|L2TP header|PPP header|PPP payload|ESP trailer|auth trailer|" in drawn
    assert "encrypted by ESP" in drawn
    assert max(map(len, drawn.splitlines())) <= 118
    assert len(table(packet.layers).splitlines()) == len(names)
    from xml.etree import ElementTree as ET

    picture = ET.fromstring(svg(packet.layers, 'a <title> & "more"'))
    assert picture.tag.endswith("svg")


LINKS = (
    (101, b""),
    (12, b""),
    (228, b""),
    (1, bytes(12) + b"\x08\x00"),
    (1, bytes(12) + b"\x81\x00\x00\x05\x08\x00"),
    (1, bytes(12) + b"\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x00"),
    (1, bytes(12) + b"\x88\x64\x11\x00\x00\x01\x00\x16\x00\x21"),
    (113, bytes(14) + b"\x08\x00"),
    (276, b"\x08\x00" + bytes(18)),
    (0, b"\x02\x00\x00\x00"),
    (108, b"\x00\x00\x00\x02"),
)


@pytest.mark.parametrize(("link", "before"), LINKS)
def test_what_lies_before_the_ip_header(link: int, before: bytes) -> None:
    first = records(real("cert"))[0][14:]
    packet = dissect(pcap([before + first], link=link))[0]
    assert packet.summary.startswith("main mode 1")
    assert packet.octets == packet.length


def test_wrong_link_type_is_named() -> None:
    packet = dissect(pcap([b"\0" * 40], link=105))[0]
    assert packet.protocol == "other"
    assert "link type 105" in packet.summary


def test_fragments_are_put_together() -> None:
    scapy = pytest.importorskip("scapy.all")
    whole = scapy.IP(records(real("cert"))[4][14:])
    pieces = [bytes(piece) for piece in scapy.fragment(whole, fragsize=400)]
    assert len(pieces) > 2
    for order_of in (pieces, pieces[::-1]):
        packets = dissect(pcap([*[r[14:] for r in records(real("cert"))[:4]], *order_of], link=101), keys_of("cert"))
        assert [p.protocol for p in packets[4:-1]] == ["IPv4"] * (len(pieces) - 1)
        assert "certificate CN=client.lab" in packets[-1].summary


def test_ike_fragments_and_ipv6_and_keepalive_and_version() -> None:
    scapy = pytest.importorskip("scapy.all")
    first = records(real("cert"))[0][42:]
    six = bytes(scapy.IPv6(src="2001:db8::1", dst="2001:db8::2") / scapy.UDP(sport=500, dport=500) / scapy.Raw(first))
    alive = bytes(scapy.IP() / scapy.UDP(sport=4500, dport=4500) / scapy.Raw(b"\xff"))
    two = bytes(scapy.IP() / scapy.UDP(sport=500, dport=500) / scapy.Raw(first[:17] + b"\x20" + first[18:]))
    from headrace.ike.fragment import split

    pieces = [bytes(scapy.IP() / scapy.UDP(sport=500, dport=500) / scapy.Raw(piece)) for piece in split(first, 1, 120)]
    packets = dissect(pcap([six, alive, two, *pieces], link=101))
    assert packets[0].source == "[2001:db8::1]:500"
    assert packets[0].summary.startswith("main mode 1")
    assert packets[1].summary == "keepalive"
    assert "IKEv2" in packets[2].problem
    assert {p.summary.split(":")[0] for p in packets[3:-1]} == {"fragment"}
    assert "main mode 1" in packets[-1].summary


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_real_packets_with_octets_changed_never_raise(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(REAL))
    packets = records(real(name))
    for _ in range(data.draw(st.integers(1, 6))):
        index = data.draw(st.integers(0, len(packets) - 1))
        octets = bytearray(packets[index])
        if not octets:
            continue
        at = data.draw(st.integers(0, len(octets) - 1))
        if data.draw(st.booleans()):
            octets[at] = data.draw(st.integers(0, 255))
        else:
            del octets[at:]
        packets[index] = bytes(octets)
    for packet in dissect(pcap(packets), keys_of(name)):
        assert packet.protocol or packet.problem
        assert "\n" not in packet.summary


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([500, 4500, 1701]), st.sampled_from([17, 50, 51, 1]))
def test_any_payload_never_raises(payload: bytes, port: int, protocol: int) -> None:
    body = port.to_bytes(2, "big") * 2 + (8 + len(payload)).to_bytes(2, "big") + b"\0\0" + payload
    head = (
        b"\x45\0"
        + (20 + len(body)).to_bytes(2, "big")
        + b"\0\0\0\0\x40"
        + bytes([protocol])
        + b"\0\0"
        + b"\x0a\0\0\1\x0a\0\0\2"
    )
    (packet,) = dissect(pcap([head + body], link=101))
    assert packet.protocol


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120), st.sampled_from([1, 9, 113, 276, 0, 101]))
def test_any_frame_of_any_link_never_raises(data: bytes, link: int) -> None:
    dissect(pcap([data], link=link))


def test_tables_of_keys_with_wrong_rows(tmp_path: Path) -> None:
    esp = tmp_path / "esp_sa"
    esp.write_text(
        '# a comment\n"IPv4","*","*","0x100","AES-CBC [RFC3602]","0x00112233445566778899aabbccddeeff","HMAC-SHA-1-96 [RFC2404]","0x00"\n'
        '"IPv4","*","*","0x101","TWOFISH-CBC","0x00","NULL",""\n"IPv4","*"\n"IPv4","*","*","*","NULL","","NULL",""\n'
        '"IPv4","*","*","0x102","AES-CBC [RFC3602]","0x00","NULL",""\n"IPv4","*","*","zebra","NULL","","NULL",""\n'
    )
    keys = Keys()
    read_esp(esp, keys)
    assert list(keys.esp) == [0x100]
    assert [problem.split(":")[0] for problem in keys.problems] == [f"esp_sa row {n}" for n in (3, 4, 5, 6, 7)]
    assert "TWOFISH" in keys.problems[0]
    ike = tmp_path / "ikev1_decryption_table"
    ike.write_text("0011223344556677,aabb\nshort,00\n0011,00\n\n")
    read_ike(ike, keys)
    assert keys.ike == {bytes.fromhex("0011223344556677"): b"\xaa\xbb"}
    assert len(keys.problems) == 7
    assert "0011223344556677" not in repr(keys)
    assert "aabb" not in repr(keys)
