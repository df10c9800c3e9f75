"""The two ends of an IPv6 link: router advertisements (RFC 4861) and prefix delegation (RFC 8415). No packet is forwarded here."""
