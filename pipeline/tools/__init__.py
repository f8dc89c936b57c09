"""Tools that a model may call: Python functions, HTTP endpoints, MCP servers, clients."""
