"""``headrace demo``."""

from __future__ import annotations


def demo() -> int:
    """Show the whole ladder on this machine, with traffic, and a picture of one packet with every layer.

    Gateway and client run in network namespaces of their own, with real IKE, ESP, L2TP and PPP between them. Nothing of this machine's network is touched. No root is needed where unprivileged user namespaces are allowed.
    """
    from headrace.demo import run

    return int(run())
