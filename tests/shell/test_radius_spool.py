"""Accounting that waits on disk: in order, bounded, each once, also after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.radius.names import Attr
from headrace.radius.packet import text
from headrace.shell.spool import Spool, SpoolError


def name(number: int) -> tuple[object, ...]:
    return (text(Attr.ACCT_SESSION_ID, f"s{number}"),)


def drain(spool: Spool) -> list[bytes]:
    out = []
    while (record := spool.oldest()) is not None:
        out.append(record.attributes[0].value)
        spool.done(record.number)
    return out


def test_n180_records_come_back_in_order_and_once(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool", 1000) as spool:
        for number in range(100):
            spool.add(float(number), name(number))  # type: ignore[arg-type]
        first = spool.oldest()
        assert first is not None
        assert first == spool.oldest(), "it stays until it is delivered"
        assert first.moment == 0.0
        spool.done(first.number)
    with Spool(tmp_path / "spool", 1000) as again:
        assert len(again) == 99
        assert drain(again) == [b"s%d" % number for number in range(1, 100)]
        assert len(again) == 0
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o600


def test_n180_a_full_spool_leaves_out_interims_then_the_oldest(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool", 3) as spool:
        for number in range(3):
            spool.add(0.0, name(number))  # type: ignore[arg-type]
        spool.add(0.0, name(9), needed=False)  # type: ignore[arg-type]
        spool.add(0.0, name(3))  # type: ignore[arg-type]
        assert (len(spool), spool.lost) == (3, 2)
        assert drain(spool) == [b"s1", b"s2", b"s3"]


def test_spool_that_cannot_be_had_says_so(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    with pytest.raises(SpoolError, match=r"radius\.spool"):
        Spool(tmp_path / "spool", 3)
    (tmp_path / "other").write_bytes(b"not a database at all, but long enough to be looked at" * 50)
    with pytest.raises(SpoolError):
        Spool(tmp_path / "other", 3)
