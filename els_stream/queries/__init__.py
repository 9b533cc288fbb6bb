"""SQL: one table or one question per file. Every function takes the caller's connection first; none commits."""
