"""Training and test cases: generated, or read from published files that are verified."""
