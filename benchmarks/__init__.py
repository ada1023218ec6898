"""Measurements that anyone can repeat; RESULTS.md is rendered from the JSON they write."""
