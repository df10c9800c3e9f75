"""PPP negotiation (RFC 1661 and its family). Sans-IO; see ``link.py`` for the way in."""
