"""Brings methods and problems together; each folder is a room with a docstring on its door."""
