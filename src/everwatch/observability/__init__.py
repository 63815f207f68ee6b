"""Logs, metrics, and the throttle of repeated log lines."""
