"""What is done with events: facts, decision, writes, outbox rows, in one transaction that the caller owns."""
