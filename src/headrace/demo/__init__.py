"""``headrace demo``: a gateway and a client on this machine, the whole ladder, traffic, a picture of one packet, figures."""

from headrace.demo.show import run

__all__ = ["run"]
