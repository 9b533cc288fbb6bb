"""What an input event does: decode, lock the batch, decide, write, add outbox rows, in the caller's transaction."""
