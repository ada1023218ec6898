"""`python -m bench` is the command `bench`."""

from bench.harness.cli.main import main

if __name__ == "__main__":
    main()
