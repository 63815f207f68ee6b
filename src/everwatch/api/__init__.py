"""The HTTP API: the process ``everwatch api``, its resources, and what guards them."""
