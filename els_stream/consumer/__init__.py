"""Consumes the input topics: raw records from Kafka, one database transaction per micro-batch, each record once.

`fetcher` fills the `partition_buffers`, and each agent's `batch_loop` empties them. The offset of the next record of
each partition is stored in PostgreSQL, in the transaction of its effects, and decides where to go on; the consumer
group's offsets only show the lag. `faust_consumer`, `faust_app` and `kafka_client` connect this to Faust and aiokafka.
What they override there is listed in `faust_internals`, `group_internals` and `connection_internals`.
"""
