"""The border to the native data plane: batches, tables, counters, workers."""
