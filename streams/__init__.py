"""The Faust application: agents, the table of monitors, and the timer that emits ticks."""
