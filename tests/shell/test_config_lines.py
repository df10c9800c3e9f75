"""On which line a key stands."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.shell.locate import locate

TEXT = '''# a comment = 1
top = 1
"quoted key" = 2
a.b.c = 3

[table] # [not.this]
text = "with # and = and \\" in it"
literal = 'C:\\'
multi = """
[no.table]
x = 1 \\""" still
"""
after = [ # comment
  1,
  [2, 3], "x]",
  { k = 1, l.m = 2 },
]
inline = { x = 1, y = { z = 2 } }
last = 1979-05-27 07:32:00

[[list]]
name = "first"
[[list]]
name = "second"
[list.sub]
deep = true
[other.'dotted.key'] # '
v = 1
[other]
w = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("quoted key",), 3),
        (("a", "b", "c"), 4),
        (("a", "b"), 4),
        (("table",), 6),
        (("table", "text"), 7),
        (("table", "literal"), 8),
        (("table", "multi"), 9),
        (("table", "after"), 13),
        (("table", "after", 0), 14),
        (("table", "after", 1), 15),
        (("table", "after", 1, 1), 15),
        (("table", "after", 2), 15),
        (("table", "after", 3, "l", "m"), 16),
        (("table", "inline", "y", "z"), 18),
        (("table", "last"), 19),
        (("list", 0), 21),
        (("list", 0, "name"), 22),
        (("list", 1, "name"), 24),
        (("list", 1, "sub", "deep"), 26),
        (("other", "dotted.key", "v"), 28),
        (("other", "w"), 30),
        (("table", "absent"), 6),
        (("absent",), 1),
        ((), 1),
    ],
)
def test_line_of_a_path(path: tuple[str | int, ...], line: int) -> None:
    assert locate(TEXT).of(path) == line


def test_text_is_toml_and_has_nothing_twice() -> None:
    tomllib.loads(TEXT)
    assert locate(TEXT).again == {}


def test_twice() -> None:
    assert locate("[a]\nx = 1\n[b]\n[a]\n").again == {("a",): 4}
    assert locate("x = 1\nx = 2\nx = 3\n").again == {("x",): 2}


def test_table_implied_by_what_is_in_it_may_follow() -> None:
    assert locate("[a.b]\nx = 1\n[a]\ny = 1\n").again == {}


def test_long_file_is_read_in_one_pass() -> None:
    text = "".join(f"key{i} = {i}\n" for i in range(20000))
    assert locate(text).of(("key19999",)) == 20000


@given(st.text(alphabet='ab.=[]{}"\'\\#,\n\r \t0-"', max_size=60))
def test_never_fails_and_agrees_with_tomllib(text: str) -> None:
    lines = locate(text)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert lines.again == {}
    assert all((key,) in lines.first for key in data)
