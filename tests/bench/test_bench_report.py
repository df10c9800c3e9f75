"""Rows, bars, bounds, comparison, plots, and the command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from headrace.bench import bars, bounds, plot, report, run
from headrace.bench.cases import ENCRYPT, ESP, MPPE, SIZES, Case
from headrace.bench.measure import Result
from headrace.bench.native import BenchError
from headrace.cli import app

if TYPE_CHECKING:
    from pathlib import Path

PORTS = {
    "add": 2.0,
    "ternary": 2.0,
    "rotate": 1.0,
    "shuffle": 1.0,
    "permute": 1.0,
    "aes": 1.0,
    "clmul": 0.5,
    "affine": 1.0,
    "aes+clmul": 1.0,
    "aes+rotate": 1.0,
    "load": 3.0,
    "store": 1.0,
}
MACHINE = {
    "processor": "a processor",
    "core_ghz": 4.0,
    "level": "avx512",
    "ports": PORTS,
    "peers": {},
    "missing": {"x": "gone"},
}


def result(name: str, rounds: list[float], case: Case | None = None) -> Result:
    return Result(case or Case("aes128-sha1", ENCRYPT, 64), name, 1000, "", rounds, [4.0] * len(rounds))


def made(*results: Result) -> report.Report:
    found = report.Report(dict(MACHINE))
    found.add("kernels", results)
    return found


def test_a_row_has_what_machines_read() -> None:
    row = made(result("headrace", [1000.0, 800.0, 1600.0])).rows[0]
    assert row == {
        "suite": "kernels",
        "transform": "aes128-sha1",
        "direction": "encrypt",
        "size": 64,
        "batch": 256,
        "implementation": "headrace",
        "gbit_per_s": 8.0,
        "min": 5.0,
        "max": 10.0,
        "cycles_per_byte": 4.0,
        "bound_cycles_per_byte": row["bound_cycles_per_byte"],
    }
    assert 1 < row["bound_cycles_per_byte"] < 2


def test_written_and_read_and_compared(tmp_path: Path) -> None:
    old, new = made(result("headrace", [1000.0])), made(result("headrace", [500.0]), result("openssl", [4000.0]))
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old.json()), "utf-8")
    assert report.compare(report.read(path), new) == [
        ("kernels", "aes128-sha1", "encrypt", "64", "256", "headrace", "8.00", "16.00", "+100.0 %")
    ]
    assert report.table(new.rows)[1][-2:] == ("8.00 x", "")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": 3, "machine": {}}', '{"rows": [{}], "machine": {}}', "\xff"])
def test_what_is_no_result_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BenchError, match="is no result"):
        report.read(path)


def test_a_bar_is_judged_round_by_round() -> None:
    bar = bars.Bar(Case("aes128-sha1", ENCRYPT, 64), "ipsec-mb", 1.7)
    ours = result("headrace", [100.0, 200.0, 100.0])
    verdict = bars.judge(bar, [ours, result("openssl", [1.0] * 3), result("ipsec-mb", [170.0, 340.0, 100.0])])
    assert verdict is not None
    assert verdict.rounds == (1.7, 1.7, 1.0)
    assert verdict.met
    assert verdict.json()["min"] == 1.0
    assert bars.judge(bar, [ours]) is None


def test_the_bars_are_all_there() -> None:
    found = list(bars.bars())
    assert len(found) == 2 * (5 + 4 + 4 + 4 + 4) + 3 * 4
    assert {bar.peer for bar in found if bar.case.mppe} == {"openssl"}
    assert [bar.ratio for bar in bars.bars("aes128-sha1")] == [1.7, 1.4, 1.15, 1.4, 1.5, 1.4, 1.25, 1.05, 1.2, 1.3]
    assert [bar.case.batch for bar in bars.bars("aes128-sha1")][4] == 32


def test_bounds_fall_with_size_and_rise_with_work() -> None:
    for name in (*ESP, *MPPE):
        small, large = (bounds.bound(Case(name, ENCRYPT, size), PORTS) for size in (64, 1400))
        assert small is not None
        assert large is not None
        assert small > large > 0
    by_name = {name: bounds.bound(Case(name, ENCRYPT, "imix"), PORTS) or 0.0 for name in ESP}
    assert (
        by_name["aes128gcm16"]
        < by_name["aes256gcm16"]
        < by_name["aes128-sha1"]
        < by_name["aes256-sha256"]
        < by_name["3des-sha1"]
    )
    assert bounds.bound(Case("aes128-sha1", ENCRYPT, 64), {"load": 2.0, "store": 1.0}) is None
    assert bounds.bound(Case("mppe128-stateful", ENCRYPT, 64), {}) is None


def test_bound_of_aes_by_hand() -> None:
    # 1398 octets and a trailer of two are 88 blocks, 22 registers of ten rounds; three products for each of 90 blocks at half a cycle.
    ports = dict.fromkeys(bounds._VECTOR, 1e9) | {"aes": 1.0}
    assert bounds.bound(Case("aes128gcm16", ENCRYPT, 1398), ports) == pytest.approx(10 * 89 / 4 / 1398)


def test_the_terminal_plot_marks_the_bound() -> None:
    lines = list(plot.terminal(made(result("headrace", [1000.0]), result("openssl", [2000.0])), width=80))
    assert lines[0] == "kernels: aes128-sha1 encrypt, Gbit/s"
    assert "┊" in lines[1]
    assert 1.8 < lines[1].count("█") / lines[2].count("█") < 2.3
    assert all(len(line) <= 80 for line in lines)


def test_plots_without_matplotlib_are_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BenchError, match=r"headrace\[bench\]"):
        plot.files(made(result("headrace", [1000.0])), tmp_path)


def test_plot_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cases = [Case("aes128-sha1", ENCRYPT, size) for size in SIZES] + [Case("aes128-sha1", ENCRYPT, "imix", 32)]
    found = made(*(result(name, [1000.0, 900.0], case) for case in cases for name in ("headrace", "openssl")))
    written = plot.files(found, tmp_path / "plots")
    assert {path.name for path in written} == {
        f"kernels-by-{what}.{end}" for what in ("size", "batch") for end in ("png", "svg")
    }
    assert all(path.stat().st_size > 1000 for path in written)


@pytest.mark.parametrize("name", ["aes128", "blowfish-sha1", "mppe"])
def test_only_wants_a_transform(name: str) -> None:
    with pytest.raises(BenchError, match="--only"):
        run.Options(only=name)


# --- the command ------------------------------------------------------------------------------------------------------------------


def fake(options: run.Options, progress: Any) -> report.Report:
    progress(1.0, "done")
    found = made(result("headrace", [1000.0]), result("ipsec-mb", [2000.0]))
    if options.bars:
        found.add_bars([bars.Verdict(bars.Bar(Case("aes128-sha1", ENCRYPT, 64), "ipsec-mb", 1.7), (2.0, 2.0))])
    return found


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "run", fake)
    path = tmp_path / "new.json"
    assert app.run(["bench", "kernels", "--json", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "a processor" in shown
    assert "2.00 x" in shown
    assert json.loads(path.read_text("utf-8"))["rows"][0]["implementation"] == "headrace"
    assert app.run(["bench", "--compare", str(path)]) == 0
    assert "+0.0 %" in capsys.readouterr().out
    assert app.run(["bench", "kernels", "--bars", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["bars"][0]["met"] is True
    assert app.run(["bench", "kernels", "--bars"]) == 0
    assert "1 of 1 reached" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["kernel"], 2, "there is no benchmark"),
        (["kernels", "--only", "rot13"], 2, "--only rot13"),
        (["--compare", "/nonexistent/old.json"], 3, "/nonexistent/old.json"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["bench", *arguments]) == code
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told
