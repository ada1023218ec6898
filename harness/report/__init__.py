"""Tables, pictures and pages of comparisons."""
