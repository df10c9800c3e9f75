"""Computer certificates: a small CA, issuing, revocation, and the verdict on a peer's chain."""
