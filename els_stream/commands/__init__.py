"""The commands of `els`. Each reads the settings, calls one function of the service and prints the result."""
