"""Real servers for development, tests and the demo: PostgreSQL and Apache Kafka without Docker.

Nothing here is needed by a worker that is told its servers; the packages that carry the binaries are development
dependencies and are looked for only when a server starts.
"""
