"""The bounds-checked reader and writer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import PeerError
from headrace.wire import Malformed, Reader, Truncated, Writer


def test_numbers_are_in_network_order() -> None:
    reader = Reader(bytes.fromhex("01 0203 04050607"), "t")
    assert (reader.u8("a"), reader.u16("b"), reader.u32("c")) == (1, 0x0203, 0x04050607)
    reader.end("message")


def test_reading_past_the_end_says_layer_field_and_offset() -> None:
    reader = Reader(b"\0\0\0", "l2tp", base=40)
    reader.u16("flags")
    with pytest.raises(Truncated) as caught:
        reader.u16("length")
    error = caught.value
    assert (error.layer, error.field, error.offset) == ("l2tp", "length", 42)
    assert "needs 2 octets, 1 are left" in str(error)
    assert isinstance(error, PeerError)


def test_a_failed_read_moves_nothing() -> None:
    reader = Reader(b"\x07", "t")
    with pytest.raises(Truncated):
        reader.u32("x")
    assert reader.u8("y") == 7


def test_negative_length_is_malformed() -> None:
    with pytest.raises(Malformed, match="length -1"):
        Reader(b"abc", "t").take(-1, "x")


def test_a_sub_reader_ends_where_it_should_and_knows_its_place() -> None:
    reader = Reader(b"abcdef", "t", base=10)
    reader.take(1, "skip")
    inner = reader.sub(2, "inner")
    assert (inner.offset, inner.rest(), inner.offset) == (11, b"bc", 13)
    assert reader.rest() == b"def"
    with pytest.raises(Truncated):
        Reader(b"ab", "t").sub(3, "inner")


def test_end_refuses_what_is_left() -> None:
    with pytest.raises(Malformed, match="2 octets too many"):
        Reader(b"ab", "t").end("message")


def test_a_memoryview_is_as_good_as_bytes() -> None:
    assert Reader(memoryview(bytearray(b"abc"))[1:], "t").rest() == b"bc"


@pytest.mark.parametrize(("method", "value"), [("u8", 256), ("u16", 65536), ("u32", 1 << 32), ("u8", -1)])
def test_values_out_of_range_are_our_own_mistake(method: str, value: int) -> None:
    with pytest.raises(OverflowError):
        getattr(Writer(), method)(value)


@given(st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.binary(max_size=40))
def test_what_is_written_is_read(a: int, b: int, c: int, raw: bytes) -> None:
    writer = Writer().u8(a).u16(b).u32(c).raw(raw)
    assert len(writer) == 7 + len(raw)
    reader = Reader(writer.bytes(), "t")
    assert (reader.u8("a"), reader.u16("b"), reader.u32("c"), reader.rest()) == (a, b, c, raw)


@given(st.binary(max_size=64), st.lists(st.integers(-2, 70), max_size=20))
def test_any_reads_give_slices_or_malformed_and_nothing_else(data: bytes, lengths: list[int]) -> None:
    reader = Reader(data, "t")
    taken = b""
    for length in lengths:
        try:
            taken += reader.take(length, "x")
        except Malformed:
            continue
    assert data.startswith(taken)
    assert len(reader) == len(data) - len(taken)
