"""What every problem and every optimizer must satisfy, law by law: `bench check`."""
