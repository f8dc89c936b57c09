"""What a model may call: Python functions, HTTP endpoints, clients."""
