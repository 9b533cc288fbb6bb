"""Everything of the service that can be called without Kafka, and what wires it to Kafka."""
