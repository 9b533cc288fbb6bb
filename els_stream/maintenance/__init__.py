"""The work that timers or operators start: expiry, repair, purge, erasure and replay."""
