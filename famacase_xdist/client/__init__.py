"""HTTP: one request, the calls of the API, which of them are tried again, and where the server is."""
