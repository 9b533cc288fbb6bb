"""PostgreSQL: engines, snapshots, classes of errors, the schema check and the wait at the start."""
