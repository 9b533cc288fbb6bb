# The batch in Python, of which `kafka/partition_read.py` replaces the reading of one record.
class _DefaultRecordPy:
    def __init__(
        self,
        offset: int,
        timestamp: int,
        timestamp_type: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes | None]],
    ) -> None: ...

class _DefaultRecordBatchPy:
    LOG_APPEND_TIME: int
    _buffer: bytearray
    _pos: int
    def __init__(self, buffer: bytes) -> None: ...
    @property
    def base_offset(self) -> int: ...
    @property
    def next_offset(self) -> int: ...
    @property
    def timestamp_type(self) -> int: ...
    @property
    def first_timestamp(self) -> int: ...
    @property
    def max_timestamp(self) -> int: ...
    def _read_msg(self) -> _DefaultRecordPy: ...
