"""Records that the worker sends beside ticks: transitions, replies, results, cancellations, dead letters."""
