"""Operations of people on a whole installation: audit, explanation, purge, dead letters as text."""
