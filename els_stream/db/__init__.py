"""PostgreSQL: the engine, the classes of its errors, the schema check and waiting for it at the start."""
