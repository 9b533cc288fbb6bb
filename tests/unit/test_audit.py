"""`make audit` fails for a package with a known weakness, and says so where there are no advisories."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest

from els_stream.config.setting_types import CHECKOUT
from els_stream.embedded.ports import new_ports
from tests.support import audit

PACKAGE: Final = "six==1.17.0"
FOUND: Final = {
    "id": "GHSA-left-on-the-bus",
    "modified": "2026-01-31T12:00:00Z",
    "summary": "It bites.",
    "affected": [],
}


class Advisories(BaseHTTPRequestHandler):
    """Answers as a service in OSV's format: every package has one weakness, or none."""

    has_weakness = False

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        found = [{key: FOUND[key] for key in ("id", "modified")}] if self.has_weakness else []
        self._answer({"results": [{"vulns": found} for _ in queries]})

    def do_GET(self) -> None:
        self._answer(FOUND)

    def _answer(self, body: dict[str, Any]) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class Weaknesses(Advisories):
    has_weakness = True


@contextmanager
def served(answers: type[Advisories]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), answers) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text(f"{PACKAGE} \\\n    --hash=sha256:00\n")
    return path


@pytest.mark.parametrize(("answers", "code"), [(Advisories, 0), (Weaknesses, 1)])
def test_a_known_weakness_fails_the_audit(answers: type[Advisories], code: int, lock_file: Path) -> None:
    with served(answers) as url:
        ((found, text),) = audit.audit([lock_file], "--service-url", url)

    assert found == code
    assert ("GHSA-left-on-the-bus: It bites." in text) is bool(code)


def test_without_advisories_it_says_so_and_passes(lock_file: Path) -> None:
    (port,) = new_ports(1)

    found = list(audit.audit([lock_file, lock_file], "--service-url", f"http://127.0.0.1:{port}"))

    assert found == [(0, "els: no advisories are at hand here, so no package was audited")]


@pytest.mark.parametrize("path", audit.LOCK_FILES, ids=lambda path: path.name)
def test_every_locked_package_is_audited(path: Path) -> None:
    locked = re.findall(r"^([\w.\[\],-]+==\S+)", path.read_text(), re.MULTILINE)

    assert [pin.split(" ; ")[0].strip() for pin in audit.PIN.findall(path.read_text())] == locked


def test_ci_audits() -> None:
    assert "step make audit" in (CHECKOUT / ".ci" / "run").read_text()
