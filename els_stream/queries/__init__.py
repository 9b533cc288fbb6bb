"""SQL, one noun per file. Every function takes the caller's connection first, and none commits."""
