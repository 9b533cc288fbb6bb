"""One thin file per kind of command: it reads settings, calls one function that tests call too, and prints."""
