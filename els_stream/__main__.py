"""`python -m els_stream` is `els`: workers start here, so the app module is imported once and under one name."""

from els_stream.cli import main

main()
