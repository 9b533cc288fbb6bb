"""Running the tests in several processes with pytest-xdist: their number, their order, their servers' folders.

The controller is the process that a person starts; it runs no test itself. It makes the state folders of the
processes that it starts, and in the end stops every server that one of them left.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol

import psutil
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from els_stream.config.settings import Settings
from els_stream.embedded import ports
from tests.support.paths import reachable_folder
from tests.support.shared_servers import SharedServers

ROOT: Final = Path(__file__).parents[2]
# Most tests wait for a server or a process, so more processes than cores keep the cores busy.
PROCESSES_PER_CORE: Final = 1.5
MAX_PROCESSES: Final = 8
# PostgreSQL, Kafka, and the workers that a test starts.
MEMORY_PER_PROCESS: Final = 3 * 2**29
STATE_FOLDER: Final = "state_folder"
# xdist sets this variable for the processes of a run; those that tests start inherit it.
RUN_ID_VARIABLE: Final = "PYTEST_XDIST_TESTRUNUID"
RUN_ID: Final = "testrunuid"

# Their tests take milliseconds, or share a fixture that takes seconds.
WHOLE_FILES: Final = (
    "tests/unit/",
    "tests/postgres/handlers/test_instances.py",
    "tests/postgres/queries/test_hot_path_plans.py",
)

LONGEST_FIRST: Final = (
    "tests/postgres/handlers/test_model.py",
    "tests/acceptance/",
    "tests/kafka/consumer/",
    "tests/kafka/relay/",
    "tests/kafka/",
    "tests/browser/",
    "tests/postgres/queries/",
    "tests/postgres/",
)

if missing := [name for name in WHOLE_FILES + LONGEST_FIRST if not (ROOT / name).exists()]:
    raise FileNotFoundError(f"no such files: {missing}")

RUN_FOLDER: Final = pytest.StashKey[Path]()


class Node(Protocol):
    """A test process, as the controller that started it sees it (xdist's WorkerController)."""

    config: pytest.Config
    gateway: Any
    workerinput: dict[str, Any]


def cache_bytecode() -> None:
    """Let child processes use cached bytecode also where PYTHONDONTWRITEBYTECODE is set.

    The cache is then below pytest's own. Without it every worker that a test starts compiles all modules: 2 s of CPU.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ["PYTHONPYCACHEPREFIX"] = str(ROOT / ".pytest_cache" / "bytecode")


def choose_own_ports() -> None:
    """Let each process of a run choose ports from another range: two could choose the same before a server listens."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % count
    size = (ports.LAST - ports.FIRST) // count
    ports.FIRST, ports.LAST = ports.FIRST + number * size, ports.FIRST + (number + 1) * size


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process was started by a controller to run some of the tests."""
    return _workerinput(config) is not None


def _workerinput(config: pytest.Config) -> dict[str, Any] | None:
    return getattr(config, "workerinput", None)


def number_of_processes() -> int:
    """Return how many processes `-n auto` starts; the variable PYTEST_XDIST_AUTO_NUM_WORKERS overrides it.

    It is one if the settings name servers, as all processes would share them.
    """
    if given := os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return int(given)
    if Settings().broker_url is not None:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    by_memory = psutil.virtual_memory().available // MEMORY_PER_PROCESS
    return max(1, min(round(cores * PROCESSES_PER_CORE), MAX_PROCESSES, by_memory))


@contextlib.contextmanager
def state_folder(config: pytest.Config) -> Iterator[Path]:
    """Yield the folder for this process's servers: the controller's choice, or a temporary one."""
    given = _workerinput(config)
    if given is not None:
        yield Path(given[STATE_FOLDER])
    else:
        with reachable_folder() as folder:
            yield folder


def assign_state_folder(node: Node) -> None:
    """Choose the state folder of a process that is about to start; runs in the controller."""
    config = node.config
    if RUN_FOLDER not in config.stash:
        _prepare_controller(config, node.workerinput[RUN_ID])
    folder = config.stash[RUN_FOLDER] / node.gateway.id
    folder.mkdir(mode=0o711, exist_ok=True)
    node.workerinput[STATE_FOLDER] = str(folder)


def _prepare_controller(config: pytest.Config, run_id: str) -> None:
    """Make the folder, and pass SIGTERM on to the processes."""
    clean_up = contextlib.ExitStack()
    config.add_cleanup(clean_up.close)
    config.stash[RUN_FOLDER] = clean_up.enter_context(_run_folder(run_id))

    def end(number: int, frame: FrameType | None) -> None:
        for worker in psutil.Process().children():
            worker.terminate()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGTERM, end)


@contextlib.contextmanager
def _run_folder(run_id: str) -> Iterator[Path]:
    """Yield the parent of the state folders; at the end stop the servers that an interrupted process left running."""
    with reachable_folder() as folder:
        yield folder
        for process in psutil.process_iter(["environ"]):
            if (process.info["environ"] or {}).get(RUN_ID_VARIABLE) == run_id:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        for state in folder.iterdir():
            SharedServers(state).stop()


class Scheduling(LoadScopeScheduling):
    """Hands out one test at a time, or one file at a time where its tests are short or share a costly fixture."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file.startswith(WHOLE_FILES) else nodeid


def sort_longest_first(items: list[pytest.Item]) -> None:
    """Put long tests in front, so that no process is left with one when the others are done."""
    items.sort(key=lambda item: _position(item.nodeid))


def _position(nodeid: str) -> int:
    return next((place for place, start in enumerate(LONGEST_FIRST) if nodeid.startswith(start)), len(LONGEST_FIRST))
