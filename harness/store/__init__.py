"""The results database: what comparisons are computed from."""
