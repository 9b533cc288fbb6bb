"""The platform's events as this service reads and writes them: bytes in, typed values; facts in, final bytes out."""
