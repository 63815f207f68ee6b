"""Running a kind for a tick: its context, its decrypted config, its outcome."""
