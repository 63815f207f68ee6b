"""Small values and rules that everything else is built on: errors, clock, settings, bounds, encryption."""
