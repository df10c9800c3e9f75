"""What the sessions' benchmark makes of what it measured; nothing is measured here."""

from __future__ import annotations

from headrace.bench import sessions

ROW = {
    "sessions": 100,
    "connected": 100,
    "connections_per_s": 110.0,
    "gateway_cpu_s": 0.007,
    "rss_kib_per_session": 35.0,
    "flooded": 100,
    "one_gbit_per_s": 4.0,
    "gbit_per_s": 3.5,
}
MACHINE = {"processor": "P", "processors": 2, "headrace": "0", "level": "avx2"}


def test_bars_are_those_of_the_most_sessions() -> None:
    found = sessions.bars([ROW, ROW | {"sessions": 1000, "connected": 1000, "gbit_per_s": 2.0, "rss_kib_per_session": 41.0}])
    assert [item["met"] for item in found] == [False, False]
    assert [item["met"] for item in sessions.bars([ROW])] == [True, True]
    assert sessions.bars([]) == []


def test_table_has_a_line_for_each_number_of_sessions() -> None:
    figures = {"machine": MACHINE, "rows": [ROW]}
    assert sessions.table(figures) == [("100", "100", "110", "7.0", "35.0", "4.00", "3.50")]
    assert dict(sessions.heading(figures))["processor"] == "P, 2 of them"
