"""HTTP/1.1 client of the gateway, with spare connections."""
