"""RADIUS as its client speaks it: wire, requests in flight, accounting records, disconnections asked for. No sockets, no clocks."""
