"""The demo: class sets from a seed, two real workers, and a proof that what came out is right.

What must come out is known from what was sent alone; nothing here asks the service's tables whether it did well.
"""
