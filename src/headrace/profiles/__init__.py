"""What a client's side imports or types in: written from the gateway's configuration and one account."""
