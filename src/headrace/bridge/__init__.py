"""Bridged Ethernet: which port a frame goes to."""
