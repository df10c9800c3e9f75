"""L2TP version 2 control (RFC 2661), LNS and LAC. Sans-IO; see ``peer.py`` for the way in."""
