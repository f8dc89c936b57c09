"""Authentication, access rights and admission limits of the server."""
