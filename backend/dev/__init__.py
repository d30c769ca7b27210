"""What developers need and production does not: an embedded PostgreSQL, and `make run`."""
