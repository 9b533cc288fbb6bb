"""The demo: sends generated batches through two real workers and checks the published events.

The expected events follow from the sent records alone. The service's tables are not used to derive them.
"""
