"""The executor: takes ticks, runs their kinds, and sends the results."""
