"""The rules of the domain: facts and events in, outcomes out. Pure: no I/O, no clock, no SQL."""
