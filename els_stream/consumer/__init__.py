"""The intake: raw records from Kafka to one transaction per micro-batch, each handled once, whatever dies meanwhile.

`lane` holds the parts of the assignment, `feeding` fills them, `runner` empties them; the ledger says what was handled.
`consumer` is the only module that touches Faust's consumer and aiokafka; what it overrides there is in `internals`.
"""
