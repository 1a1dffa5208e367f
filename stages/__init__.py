"""Traincore: a file a stage, a file a command, and a folder for each kind of code that they share (see README.md)."""
