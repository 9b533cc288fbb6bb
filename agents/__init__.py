"""Kafka in: one agent per file, named as its file and its function. The application imports them from its own list."""
