"""Tools for a prompt: what ``tools = ["samples.tools:order_status"]`` offers to its model."""

from typing import Any

ORDERS: dict[int, str] = {4711: "shipped yesterday", 12: "waiting for the printer"}


def order_status(order: int) -> dict[str, Any]:
    """Look up the status of an order.

    order: the number of the order
    """
    return {"order": order, "status": ORDERS.get(order, "unknown")}
