"""Parts that several commands share: options, output, sending, child processes."""
