"""Users and monitors into Everwatch and out of it: files, queries, what was sent before, what the database holds."""
