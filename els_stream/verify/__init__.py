"""Proof on a live database, and on Kafka, that the invariants hold: one line per invariant, violations by name."""
