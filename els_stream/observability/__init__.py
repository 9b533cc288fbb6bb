"""Metrics, health, tracing and logging."""
