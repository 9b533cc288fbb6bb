"""The settings: names, types, defaults, help texts, and checks of addresses."""
