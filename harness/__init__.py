"""Brings methods and problems together: plans, runs, records, compares, reports."""
