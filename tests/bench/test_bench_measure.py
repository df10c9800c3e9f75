"""What is measured is right before it is fast: every implementation's packets, and that wrong ones are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headrace.bench import measure, python_peers
from headrace.bench.cases import DECRYPT, ENCRYPT, ESP, IMIX, MORE_ESP, MPPE, PACKETS, SAS, Case, directions
from headrace.bench.measure import SMOKE, Native, check, headrace
from headrace.bench.native import BenchError, ffi
from headrace.bench.sets import EspSet, MppeSet, packet_set

if TYPE_CHECKING:
    from headrace.bench.native import Toolbox


@pytest.mark.parametrize(
    "case",
    [Case(name, way, "imix") for name in (*ESP, *MORE_ESP, *MPPE) for way in directions(name)],
    ids=lambda case: f"{case.transform} {case.direction}",
)
def test_all_implementations_pass_the_check(toolbox: Toolbox, case: Case) -> None:
    results = measure.measure(toolbox, case, SMOKE)
    assert results[0].implementation == "headrace"
    for result in results:
        assert result.gbit > 0
        assert result.gbit_min <= result.gbit <= result.gbit_max
    names = {result.implementation for result in results[1:]}
    assert names <= {"ipsec-mb", "openssl"}
    installed = {peer.name for peer in toolbox.peers}
    # ipsec-mb has no RC4, OpenSSL keeps single DES in a provider that must be loaded.
    absent = "ipsec-mb" if case.mppe else "openssl" if case.transform == "des-sha1" else ""
    assert names == installed - {absent}


@pytest.mark.parametrize("batch", [1, 7, 32, 256])
def test_batches_of_any_size(toolbox: Toolbox, batch: int) -> None:
    for way in (ENCRYPT, DECRYPT):
        measure.measure(toolbox, Case("aes128-sha1", way, 64, batch), SMOKE)


@pytest.mark.parametrize("peer", ["ipsec-mb", "openssl"])
@pytest.mark.parametrize("transform", ["aes256-sha256", "aes128gcm16", "3des-sha1"])
def test_every_way_of_a_peer_makes_right_packets(toolbox: Toolbox, peer: str, transform: str) -> None:
    library = next((found for found in toolbox.peers if found.name == peer), None)
    if library is None:
        pytest.skip(f"{peer} is not installed")
    for way in (ENCRYPT, DECRYPT):
        packets = packet_set(Case(transform, way, "imix", 100))
        names = dict(measure._ways(packets, library))
        assert names
        for index, name in names.items():
            made = measure._peer(toolbox, packets, library, index, name)
            if made is not None:  # None: this processor cannot
                with made:
                    check(packets, made)
                    assert len(made.run(0, 6, 6)) == 6, name


def test_one_that_does_nothing_does_not_pass(toolbox: Toolbox) -> None:
    for case in (Case("aes128-sha1", ENCRYPT, 64), Case("aes128-sha1", DECRYPT, 64), Case("mppe128-stateless", ENCRYPT, 64)):
        packets = packet_set(case)
        lazy = Native(toolbox, packets, "lazy", "", toolbox.harness.hb_nothing_work(), ffi().NULL, lambda _: None)
        with pytest.raises(BenchError, match="nothing was measured"):
            check(packets, lazy)


def test_a_replayed_packet_fails_the_pass(toolbox: Toolbox) -> None:
    packets = packet_set(Case("aes128gcm16", DECRYPT, 64))
    first, second = int(packets.packets[0].off), int(packets.packets[1].off)
    length = int(packets.packets[0].len)
    packets.pristine[second : second + length] = packets.pristine[first : first + length]
    with headrace(toolbox, packets) as ours:
        assert ours.run(0, 1, 1) == []


def test_sets_are_the_same_every_time() -> None:
    case = Case("aes256gcm16", DECRYPT, "imix")
    assert (EspSet(case).pristine == EspSet(case).pristine).all()
    packets = EspSet(case)
    weights = dict(IMIX)
    assert {length: packets.lengths.count(length) for length in weights}[64] == pytest.approx(PACKETS * 7 / 12, abs=4)
    assert len({int(packets.packets[n].sa) for n in range(PACKETS)}) == SAS
    assert isinstance(packet_set(Case("mppe128-stateful", ENCRYPT, 64)), MppeSet)


@pytest.mark.parametrize("transform", ["aes128-sha1", "aes256gcm16"])
def test_python_libraries(transform: str) -> None:
    for way in (ENCRYPT, DECRYPT):
        packets = packet_set(Case(transform, way, 64))
        for make in (python_peers.cryptography, python_peers.scapy):
            made = make(packets)
            assert made is not None
            assert len(made.run(0, 2, 9)) == 2
            assert made.octets == (packets.octets if made.name == "cryptography" else 64 * python_peers.FEW)
    assert python_peers.cryptography(packet_set(Case("mppe128-stateless", ENCRYPT, 64))) is None
    assert python_peers.scapy(packet_set(Case("mppe128-stateless", ENCRYPT, 64))) is None
