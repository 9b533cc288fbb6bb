"""`python -m els_stream` runs `els`. Workers start here, so the app module is imported once, under one name."""

from els_stream.cli import main

main()
