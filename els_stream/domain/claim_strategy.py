"""The claim strategies, the two flags that choose one, and the table that holds the slots."""

from __future__ import annotations

from enum import StrEnum


class Strategy(StrEnum):
    """The ways to claim free slots; `queries.claims` has one module for each."""

    TWO_STEP = "two-step"
    OPTION_A = "option-a"
    OPTION_B = "option-b"


class SlotTable(StrEnum):
    """The table that holds a batch's slots; written on its tracker at registration and never changed after."""

    ESSAY_STATES = "essay_states"
    SLOT_ASSIGNMENTS = "slot_assignments"


def choose_strategy(*, cte_upsert: bool | None, essay_states: bool | None) -> Strategy:
    """Return the strategy of the two flags, None where one is unset: Option B unless A is on or B is off.

    Raises ValueError when both are on.
    """
    if cte_upsert and essay_states:
        raise ValueError(
            "ELS_USE_CTE_UPSERT_ASSIGNMENT=true and ELS_USE_ESSAY_STATES_AS_INVENTORY=true contradict each other: "
            "leave one unset, or set it to false"
        )
    if cte_upsert:
        return Strategy.OPTION_A
    return Strategy.TWO_STEP if essay_states is False else Strategy.OPTION_B


def slot_table_of(strategy: Strategy) -> SlotTable:
    """Return the table that holds the slots of batches registered under this strategy."""
    return SlotTable.ESSAY_STATES if strategy is Strategy.OPTION_B else SlotTable.SLOT_ASSIGNMENTS
