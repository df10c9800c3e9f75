"""What was captured or logged, by whomever, read for a person: packets layer by layer, conversations as the ladder, log lines as reasons."""
