"""Users and monitors into Everwatch and out of it: files, queries, the ledger of sent rows, and the database."""
