"""Check that the invariants hold on a live database, and that Kafka has the events that follow from its tables."""
