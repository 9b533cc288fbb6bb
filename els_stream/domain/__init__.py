"""The rules of the domain, pure: facts and arrivals in, outcomes out. No I/O, no clock, no SQL."""
