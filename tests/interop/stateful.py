"""``headrace`` that wants MPPE stateful in the direction that pppd asks for, too.

Run as a script in place of ``python -m headrace``. pppd takes stateful MPPE if it is told to, but never asks for it; so this answers a
request for stateless by a Nak, once. Nothing else differs.
"""

from __future__ import annotations

from headrace.cli import main
from headrace.ppp import ccp
from headrace.ppp.automaton import Verdict
from headrace.ppp.option import Option

H128 = ccp.mppe_option((128,), stateless=True)

judge = ccp.Ccp.judge
asked: set[int] = set()


def reluctant(self: ccp.Ccp, options: tuple[Option, ...]) -> Verdict | None:
    """What the product says, but to H."""
    verdict = judge(self, options)
    if options != (H128,) or id(self) in asked:
        return verdict
    asked.add(id(self))
    return Verdict(nak=(ccp.mppe_option((128,), stateless=False),))


ccp.Ccp.judge = reluctant  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
