"""Settings: their names, types, defaults and meanings, and the addresses in them."""
