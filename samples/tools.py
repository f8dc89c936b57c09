"""Example tools, offered by ``tools = ["samples.tools:order_status"]`` in a prompt."""

from typing import Annotated, Any

from msgspec import Meta

NOTES: list[str] = []
ORDERS: dict[int, str] = {4711: "shipped yesterday", 12: "waiting for the printer"}


def order_status(order: int) -> dict[str, Any]:
    """Look up the status of an order.

    order: the number of the order
    """
    return {"order": order, "status": ORDERS.get(order, "unknown")}


def keep_note(note: Annotated[str, Meta(max_length=60)]) -> dict[str, Any]:
    """Keep a note of what was said.

    note: a few words
    """
    NOTES.append(note)
    return {"notes": len(NOTES)}
