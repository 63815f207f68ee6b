"""Rules of monitors without I/O: admission, registration, lifecycle, changelog marks."""
