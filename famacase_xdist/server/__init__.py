"""The embedded server: the Reporter Ingestion API, a SQLite store and plain pages (extra ``server``)."""
