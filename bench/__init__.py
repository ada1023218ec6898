"""A referee of optimizers: compare them on shared problems, and record every run."""
