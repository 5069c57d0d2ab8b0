"""HTTP: one request, the calls of the API, the rules for retries, and the address of the server."""
