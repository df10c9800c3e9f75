"""Why can I not connect: walks the ladder against any L2TP/IPsec server as a client would, and says on which rung it ends and why."""
