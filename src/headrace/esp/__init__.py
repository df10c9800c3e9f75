"""ESP as the control plane sees it: what may be negotiated, and how long an SA lives. Packets are the data plane's."""
