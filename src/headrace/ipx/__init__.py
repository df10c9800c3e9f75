"""IPX for old machines: packets (as Novell defined them), RIP, SAP, and a small router between sessions and an Ethernet."""
