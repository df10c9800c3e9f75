"""IKEv1: main mode, quick mode, informational (RFC 2407 to 2409, 3706, 3947). Sans-IO; see ``endpoint.py`` for the way in."""
