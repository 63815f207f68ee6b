"""The notifier: transitions in, alerts to people and to their incident systems out."""
