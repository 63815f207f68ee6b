"""Operations of people on a whole installation: audit, explanation, dead letters as text."""
