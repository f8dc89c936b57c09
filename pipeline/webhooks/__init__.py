"""Webhooks: events sent to HTTP receivers (Standard Webhooks specification 1.0.0)."""
