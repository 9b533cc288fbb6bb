from collections.abc import Iterator

from aiokafka.structs import ConsumerRecord, TopicPartition

READ_COMMITTED: int

class PartitionRecords(Iterator[ConsumerRecord]):
    next_fetch_offset: int
    def __init__(
        self,
        tp: TopicPartition,
        records: object,
        aborted_transactions: object,
        fetch_offset: int,
        key_deserializer: None,
        value_deserializer: None,
        check_crcs: bool,
        isolation_level: int,
    ) -> None: ...
    def __next__(self) -> ConsumerRecord: ...
