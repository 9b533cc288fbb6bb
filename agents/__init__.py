"""The agents and timers of the service: one per file, named as its file and function; `els_stream.app` imports them."""
