"""Check the invariants I1 to I8 and the identity counters on the live database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from els_stream.queries.identity_counters import read_counters
from els_stream.queries.invariant_checks import CHECKS, read_unsent, run_check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

MAX_EXAMPLES: Final = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `violated` counts all violations, `examples` are at most MAX_EXAMPLES of them."""

    invariant: str
    meaning: str
    checked: int
    violated: int
    examples: Sequence[str]

    def __str__(self) -> str:
        """Return one line, and one more for each example."""
        result = f"{self.violated} VIOLATED" if self.violated else "ok"
        more = [f"and {self.violated - len(self.examples)} more"] if self.violated > len(self.examples) else []
        lines = "".join(f"\n          - {violation}" for violation in [*self.examples, *more])
        return f"{self.invariant:<10} {self.checked:>10} checked  {result:<12}  {self.meaning}{lines}"


def make_finding(invariant: str, meaning: str, checked: int, violations: Sequence[str]) -> Finding:
    """Return the finding that counts `violations` and has the first of them as examples."""
    return Finding(invariant, meaning, checked, len(violations), violations[:MAX_EXAMPLES])


async def check_invariants(conn: AsyncConnection, *, consumer_group: str, prefix: str) -> list[Finding]:
    """Run every check in the caller's transaction, which should be REPEATABLE READ. Locks nothing."""
    findings = []
    unsent = await read_unsent(conn)
    for check in CHECKS:
        checked, violations = await run_check(conn, check, unsent, consumer_group=consumer_group, prefix=prefix)
        findings.append(make_finding(check.invariant, check.meaning, checked, violations))
    counters = await read_counters(conn)
    behind = [f"{counter}; run `els migrate`" for counter in counters if counter.is_behind]
    return [*findings, make_finding("counters", "no identity counter lies behind its table", len(counters), behind)]
