"""Plans: a TOML file that gives each plan its monitors, filled in from the user's attributes, and its quotas."""
