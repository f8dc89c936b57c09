"""HTTP endpoints: chat completions, models, and the OpenAPI document."""
