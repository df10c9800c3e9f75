"""The text form of filter rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.access.filters import FilterError, parse_filters
from headrace.model import FILTER_RULES


@pytest.mark.parametrize("text", ["", "none", "  "])
def test_no_rules(text: str) -> None:
    assert parse_filters(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "allow tcp 10.0.0.0/8 443",
        "deny any",
        "allow udp 2001:db8::/32 53-54",
        "deny icmp 192.0.2.1/32",
        "allow icmp6 any",
        "deny tcp any 0-1",
    ],
)
def test_rule_comes_back_as_it_was_written(text: str) -> None:
    (rule,) = parse_filters(text)
    assert str(rule) == text
    assert parse_filters(f" {text.upper()} , {text}") == (rule, rule)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("permit any", "is not a filter rule"),
        ("allow", "is not a filter rule"),
        ("allow tcp", "one destination"),
        ("allow 10.0.0.1/8", "host bits"),
        ("allow any 80", "ports belong to tcp and udp"),
        ("allow tcp any 80-79", "neither a port"),
        ("allow tcp any 65536", "neither a port"),
        ("allow tcp any http", "neither a port"),
        ("allow tcp any 1 2", "one destination"),
        ("deny any,", "is not a filter rule"),
        (",".join(["deny any"] * (FILTER_RULES + 1)), "more than"),
    ],
)
def test_what_is_no_rule(text: str, words: str) -> None:
    with pytest.raises(FilterError, match=words):
        parse_filters(text)


@given(st.text(max_size=200))
def test_any_text_is_rules_or_an_error(text: str) -> None:
    try:
        rules = parse_filters(text)
    except FilterError:
        return
    assert len(rules) <= FILTER_RULES
