"""The worker, a Faust application: agents, the table of monitors, and the emitter of ticks."""
