"""Processing of input events in the caller's transaction: decode, lock the batch, decide, write, add outbox events."""
