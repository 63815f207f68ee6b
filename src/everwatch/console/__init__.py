"""The console: what people look at in a browser. Served by the API, and a client of it like any other."""
