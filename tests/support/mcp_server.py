"""An MCP server with tools about orders; run it with ``stdio`` or ``http PORT``."""

import os
import sys
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import ToolAnnotations

server = MCPServer("orders")
ONLY_READS = ToolAnnotations(read_only_hint=True)


@server.tool(annotations=ONLY_READS)
def order_status(order: int) -> dict[str, Any]:
    """Look up the status of an order."""
    return {"order": order, "status": "shipped"}


@server.tool("cancel.order")
def cancel_order(order: int, context: Context) -> str:
    """Cancel an order."""
    meta: Any = context.request_context.meta or {}
    return f"order {order} cancelled, {meta.get('idempotency-key')}"


@server.tool(annotations=ONLY_READS)
def broken(order: int) -> str:
    """Always fail."""
    raise ValueError(f"no order {order}")


@server.tool(annotations=ONLY_READS)
def fatal(marker: str) -> str:
    """Stop the server on the first call, and reply on the second."""
    if os.path.exists(marker):
        return "alive"
    with open(marker, "w"):
        os._exit(1)


@server.tool()
def last_act() -> str:
    """Stop the server on every call."""
    os._exit(1)


@server.tool(annotations=ONLY_READS)
def secret() -> str:
    """Return a value of the environment."""
    return os.environ.get("ORDERS_TOKEN", "nothing")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stdio"]:
            server.run("stdio")
        case ["http", port]:
            server.run("streamable-http", port=int(port))
        case _:
            sys.exit("usage: mcp_server.py stdio | http PORT")
