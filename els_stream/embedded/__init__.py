"""PostgreSQL and Apache Kafka for development, tests and the demo, without Docker.

A worker with ELS_BROKER_URL and ELS_DATABASE_URL needs none of it. The packages that contain the servers' binaries are
development dependencies; they are imported only when a server starts.
"""
