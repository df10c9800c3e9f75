"""Who may come in: accounts, policy, address pools, limits."""
