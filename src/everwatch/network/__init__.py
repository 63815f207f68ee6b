"""Connections to targets that users name: guard, resolver, TLS and the HTTP client."""
