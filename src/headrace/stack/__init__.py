"""One client's whole ladder, still sans-IO: IKE, L2TP and PPP joined, with table updates for the data plane."""
