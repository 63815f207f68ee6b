"""Records that the worker sends beside ticks: transitions, replies, cancellations, dead letters."""
