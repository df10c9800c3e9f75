"""Several threads in the data plane at once: the library works without the interpreter's lock, so these really meet.

The same is done in C under the thread sanitizer by race.c beside this file.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from tests.dataplane.world import CBC, GCM, REMOTE, ip4, ip4_out, receiver, sender, world
from tests.oracle import l2tp

from headrace.dataplane.batch import Batch
from headrace.dataplane.native import NONE, NoSuchRecord, lib
from headrace.dataplane.tables import SessionConfig
from headrace.model import Endpoint


def test_two_threads_accept_every_packet_once() -> None:
    for transform in (CBC, GCM):
        with world(transform, window=4096) as w:
            packets = [w.wire(ip4(n % 20)) for n in range(2000)]
            accepted: Counter[str] = Counter()

            def work(part: int, packets: list[bytes] = packets) -> Counter[str]:
                batch, found = Batch(512), Counter[str]()
                for first in range(0, len(packets), 500):
                    chunk = packets[first : first + 500]
                    batch.load(chunk if part else chunk[::-1], lib.HR_KIND_UDP4500, remote=REMOTE)
                    w.plane.decap(batch, w.now)
                    found.update(batch.statuses())
                return found

            with ThreadPoolExecutor(3) as pool:
                for found in pool.map(work, range(3)):
                    accepted += found
            assert accepted == {"ok": 2000, "drop_esp_replay": 4000}
            assert w.plane.sa_stats(w.sa_in).packets == 2000
            assert w.plane.session_stats(w.session).rx_packets == 2000
            assert w.plane.counters()["drop_esp_replay"][0] == 4000


def test_two_threads_never_draw_the_same_number() -> None:
    with world(GCM) as w:

        def work(_: int) -> list[int]:
            batch, numbers = Batch(256), []
            for _ in range(20):
                batch.load([ip4_out()] * 256, lib.HR_KIND_IP, session=w.session)
                w.plane.encap(batch, w.now)
                numbers += [int(seq) for seq in batch.desc["seq"]]
            return numbers

        with ThreadPoolExecutor(3) as pool:
            numbers = [number for part in pool.map(work, range(3)) for number in part]
        assert sorted(numbers) == list(range(1, 3 * 20 * 256 + 1))


def test_two_threads_on_one_mppe_session() -> None:
    """Each takes its place in the chain of keys; put into order of their counts, all can be decrypted."""
    with world() as w:
        w.open_mppe()

        def work(_: int) -> list[bytes]:
            batch, frames = Batch(64), []
            for _ in range(10):
                batch.load([ip4_out()] * 64, lib.HR_KIND_IP, session=w.session)
                w.plane.encap(batch, w.now)
                assert set(batch.statuses()) == {"ok"}
                frames += [l2tp.parse_data(w.open_esp(packet)).frame[4:] for packet in batch.packets()]
            return frames

        with ThreadPoolExecutor(3) as pool:
            frames = [frame for part in pool.map(work, range(3)) for frame in part]
        far = receiver()
        frames.sort(key=lambda frame: int.from_bytes(frame[:2]) & 0xFFF)
        assert {far.open(frame) for frame in frames} == {b"\x00\x21" + ip4_out()}
        assert far.count == 3 * 10 * 64


def test_n081_records_removed_while_batches_use_them() -> None:
    with world(window=4096) as w:
        w.open_mppe()
        peer = sender()
        template = w.plane.export_sa(w.sa_in)
        data = [w.wire(ip4(100)) for _ in range(200)]
        data += [w.theirs.seal(w.frame_in(l2tp.ppp(0xFD, peer.seal(b"\x00\x21" + ip4(100))))) for _ in range(100)]
        stop = threading.Event()
        seen: list[set[str]] = [set(), set()]

        def receive() -> None:
            batch = Batch(300)
            while not stop.is_set():
                batch.load(data, lib.HR_KIND_UDP4500, remote=REMOTE)
                w.plane.decap(batch, w.now)
                seen[0] |= set(batch.statuses())

        def send() -> None:
            batch = Batch(256)
            while not stop.is_set():
                batch.load([ip4_out(200)] * 256, lib.HR_KIND_IP, session=NONE)
                w.plane.encap(batch, w.now)
                seen[1] |= set(batch.statuses())

        threads = [threading.Thread(target=target) for target in (receive, receive, send)]
        for thread in threads:
            thread.start()
        try:
            for turn in range(150):
                index, out = w.sa_in, w.sa_out
                w.sa_out = w.plane.add_sa(w.peer, CBC.keys(0x9000 + turn, outbound=True))
                w.plane.use_sa(w.sa_out)
                w.plane.remove_sa(out)
                w.plane.remove_sa(index)
                w.sa_in = w.plane.import_sa(w.peer, template)
                w.update(send_acfc=bool(turn & 1), mss4=1000 + turn)
                w.plane.update_peer(w.peer, replace(w.peer_config, remote=Endpoint.of("198.51.100.9", 1024 + turn)))
                w.open_mppe(stateless=bool(turn & 2))
                w.plane.flush_mppe(w.session)
                other = w.plane.add_session(SessionConfig(w.peer, 3, turn + 1, 4, 4, default_route=True))
                if turn % 3 == 0:
                    w.plane.remove_session(w.session)
                    w.session = w.plane.add_session(w.config)
                w.plane.remove_session(other)
                w.plane.events()
                w.plane.counters()
                with suppress(NoSuchRecord):
                    w.plane.session_stats(other)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert seen[0] <= {"ok", "drop_esp_replay", "drop_esp_spi", "drop_l2tp_session"} | {
            f"drop_mppe_{why}" for why in ("stale", "lost", "not_open", "cleartext", "header")
        } | {"exc_ppp", "drop_ip_malformed"}
        assert "ok" in seen[1]
        assert seen[1] <= {"ok", "drop_no_sa", "drop_no_route", "drop_mppe_not_open", "drop_ppp_not_open", "drop_l2tp_session"}
