"""Statistics, verdicts and summaries of recorded trials."""
