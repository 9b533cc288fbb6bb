"""Which agents are retrying just now, and why: what readiness says and liveness forgives."""

from __future__ import annotations


class Retries:
    def __init__(self) -> None:
        self.causes: dict[str, str] = {}

    def retrying(self, agent: str, cause: str) -> None:
        self.causes[agent] = cause

    def over(self, agent: str) -> None:
        """Something of this agent was committed, or nothing is left to try."""
        self.causes.pop(agent, None)
