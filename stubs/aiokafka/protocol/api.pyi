from typing import ClassVar, Generic, TypeVar

from aiokafka.protocol.types import Schema

class Struct:
    SCHEMA: ClassVar[Schema]
    def __init__(self, *values: object) -> None: ...

class Response(Struct):
    API_KEY: ClassVar[int]
    API_VERSION: ClassVar[int]

class RequestStruct(Struct):
    FLEXIBLE_VERSION: ClassVar[bool]
    API_KEY: ClassVar[int]
    API_VERSION: ClassVar[int]
    RESPONSE_TYPE: ClassVar[type[Response]]

_T = TypeVar("_T", bound=RequestStruct)

class Request(Generic[_T]):
    API_KEY: ClassVar[int]
    def build(self, request_struct_class: type[_T]) -> _T: ...
