from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE

from els_stream.embedded.processes import PROC, started_at, wait_until

FIRST_THREAD_ENDS = """
import ctypes, threading
def last():
    print("up", flush=True)
    threading.Event().wait()
threading.Thread(target=last).start()
ctypes.CDLL(None).pthread_exit(None)
"""


async def test_a_process_is_alive_while_any_of_its_threads_runs() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FIRST_THREAD_ENDS, stdout=PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    await wait_until(lambda: ") Z " in (PROC / str(process.pid) / "stat").read_text())
    alive = started_at(process.pid) is not None
    process.kill()
    await wait_until(lambda: started_at(process.pid) is None)
    await process.wait()

    assert alive
