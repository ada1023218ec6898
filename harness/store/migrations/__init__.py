"""Schema changes of the tables prefixed `bench_`, one file a revision."""
