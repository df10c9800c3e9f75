"""tshark opens our captures with our key log, in both roles, down to the user's packets.

That it finds nothing malformed is asked of every scenario of the suite; here is what it must find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.interop.lab import Scenario
    from tests.interop.tshark import Capture

LADDER = {"isakmp", "esp", "l2tp", "ppp", "lcp", "chap", "ipcp", "icmp"}


def judge(capture: Capture) -> str:
    """Every layer is seen in both directions, every ICV is right, no phase 1 or 2 message stays closed."""
    seen = capture.protocols()
    assert seen.keys() >= LADDER, sorted(seen)
    both = {"192.0.2.1", "192.0.2.2"}
    for layer in sorted(LADDER):
        assert {source for (source,) in capture.rows(layer, ["ip.src"])} >= both, layer
    packets = capture.count("esp")
    assert capture.count("esp.icv_good == 1") == packets
    assert capture.count("esp.icv_bad == 1") == 0
    assert capture.count("esp && !l2tp") == 0
    assert capture.count("isakmp.flag_e == 1") >= 5
    assert capture.closed() == []
    return f"{packets} ESP packets opened, every ICV right; " + ", ".join(f"{seen[layer]} {layer}" for layer in sorted(LADDER))


def test_gateway(scenario: Scenario) -> None:
    """[log] keylog_dir of the gateway."""
    gateway = scenario.gateway()
    outcome = scenario.client()
    assert outcome.code == 0, outcome
    gateway.wait_line("peer-down")
    scenario.note = judge(scenario.capture)


def test_gateway_natt_mppe(scenario: Scenario) -> None:
    """The same with UDP encapsulation and MPPE, which hides the user's packets from tshark but not CCP."""
    gateway = scenario.gateway(ppp={"encryption": "required-128"})
    outcome = scenario.client(NATT="yes", PPP_OPTIONS="require-mppe-128")
    assert outcome.code == 0, outcome
    gateway.wait_line("peer-down")
    seen = scenario.capture.protocols()
    assert seen.keys() >= (LADDER - {"icmp"}) | {"ccp", "comp_data"}, sorted(seen)
    # MS-MPPE: 128 bits, stateless.
    assert {bits for (bits,) in scenario.capture.rows("ccp && ppp.code == 2", ["ccp.opt.supported_bits"])} == {"0x01000040"}
    assert scenario.capture.count("esp.icv_good == 1") == scenario.capture.count("esp")
    assert scenario.capture.closed() == []
    scenario.note = ", ".join(f"{seen[layer]} {layer}" for layer in ("esp", "l2tp", "ccp", "ipcp", "comp_data"))


def test_dial(scenario: Scenario) -> None:
    """`headrace dial --keylog`."""
    with scenario.server():
        dialled = scenario.dial()
    assert dialled.code == 0, dialled
    scenario.note = judge(scenario.capture)
