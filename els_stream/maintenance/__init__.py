"""What runs by the clock or on request: expiry, repair, purge, erasure and replay."""
