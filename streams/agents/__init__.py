"""Handlers of the worker's inputs, one file each: signups and commands, signals, results."""
