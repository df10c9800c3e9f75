"""Diffie-Hellman: primes by their formula, both kinds of groups against independent arithmetic, edges, the API that may go."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import cryptography
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ike.harness import seeded

from headrace.esp.group import GROUPS_BY_KEYWORD, Group
from headrace.ike import groups

MODP = [group for group in Group if group.keyword.startswith("modp")]
ECP = [group for group in Group if group.keyword.startswith("ecp")]


def test_prime_of_the_second_oakley_group() -> None:
    printed = (
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437"
        "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF"
    )
    assert groups.prime(Group.MODP1024) == int(printed, 16)


@pytest.mark.parametrize("group", MODP)
def test_primes_are_safe_and_two_generates_the_prime_order_subgroup(group: Group) -> None:
    p = groups.prime(group)
    q = (p - 1) // 2
    assert p.bit_length() == 8 * groups.public_octets(group)
    assert p >> (p.bit_length() - 64) == p & (2**64 - 1) == 2**64 - 1
    assert p % 8 == 7
    assert pow(3, q - 1, q) == pow(2, q, p) == 1, "a Fermat test of q; 2 has order q, which then proves p"


@pytest.mark.parametrize("group", list(Group))
def test_both_sides_agree(group: Group) -> None:
    one, two = groups.begin(group, seeded(1)), groups.begin(group, seeded(2))
    for public in (one.public, two.public):
        groups.check(group, public)
        assert len(public) == groups.public_octets(group)
    assert one.shared(two.public) == two.shared(one.public)
    assert one.public != two.public
    assert groups.begin(group, seeded(1)).public == one.public, "the random source decides everything"


@pytest.mark.parametrize("group", MODP)
def test_against_plain_arithmetic(group: Group) -> None:
    p, size = groups.prime(group), groups.public_octets(group)
    one = groups.begin(group, seeded(3))
    assert isinstance(one, groups._Modp)
    assert one.public == pow(2, one._x, p).to_bytes(size, "big")
    theirs = pow(2, 123456789, p)
    assert one.shared(theirs.to_bytes(size, "big")) == pow(theirs, one._x, p).to_bytes(size, "big")


def test_leading_zeros_are_kept() -> None:
    p = groups.prime(Group.MODP1536)
    one = groups.begin(Group.MODP1536, seeded(4))
    assert isinstance(one, groups._Modp)
    one._x = next(x for x in range(10_000, 100_000) if pow(2, x, p) >> (1536 - 8) == 0)
    assert one._power(2)[0] == 0 and len(one._power(2)) == 192


@pytest.mark.parametrize("group", ECP)
def test_ecp_value_is_x_then_y_and_the_secret_is_x(group: Group) -> None:
    one, two = groups.begin(group, seeded(1)), groups.begin(group, seeded(2))
    assert isinstance(one, groups._Ecp) and isinstance(two, groups._Ecp)
    half = len(one.public) // 2
    numbers = one._key.public_key().public_numbers()
    assert one.public == numbers.x.to_bytes(half, "big") + numbers.y.to_bytes(half, "big")
    assert len(one.shared(two.public)) == half
    assert one.shared(two.public) == one._key.exchange(ec.ECDH(), two._key.public_key())


@pytest.mark.parametrize("group", MODP)
def test_modp_edges(group: Group) -> None:
    p, size = groups.prime(group), groups.public_octets(group)
    for bad in (0, 1, p - 1, p, p + 1, 256**size - 1):
        with pytest.raises(groups.BadPublicValue):
            groups.check(group, bad.to_bytes(size, "big"))
    for length in (0, size - 1, size + 1):
        with pytest.raises(groups.BadLength):
            groups.check(group, b"\2" * length)
    groups.check(group, (2).to_bytes(size, "big"))


@pytest.mark.parametrize("group", MODP)
def test_a_value_outside_of_the_subgroup_gives_a_secret_or_a_refusal(group: Group) -> None:
    p, size = groups.prime(group), groups.public_octets(group)
    value = (p - 2).to_bytes(size, "big")
    groups.check(group, value)
    one = groups.begin(group, seeded(1))
    with contextlib.suppress(groups.BadPublicValue):
        assert len(one.shared(value)) == size


@settings(max_examples=30)
@given(st.sampled_from(ECP), st.binary(max_size=140))
def test_points_that_are_none(group: Group, data: bytes) -> None:
    with pytest.raises(groups.BadPublicValue):
        groups.check(group, data)


def test_the_deprecated_api_is_there() -> None:
    """Fails loudly on the day finite-field Diffie-Hellman leaves the library: then the import ladder needs another rung."""
    assert {"DHParameterNumbers", "DHPrivateNumbers", "DHPublicNumbers"} <= set(vars(groups))
    assert tuple(map(int, cryptography.__version__.split(".")[:1])) < (53,)


def test_importing_and_computing_warns_of_nothing() -> None:
    script = (
        "import warnings; warnings.simplefilter('error');"
        "from headrace.ike import groups; from headrace.esp.group import Group; import random;"
        "e = groups.begin(Group.MODP2048, random.Random(1).randbytes); e.shared(e.public)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_keywords() -> None:
    assert set(GROUPS_BY_KEYWORD) == {"modp1024", "modp1536", "modp2048", "modp3072", "modp4096", "ecp256", "ecp384", "ecp521"}
