"""How this service reaches PostgreSQL: addresses as libpq writes them, TLS, sessions with the settings it needs."""
