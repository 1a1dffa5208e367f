"""Traincore: the stages of the pipeline, and the rooms they are built from."""
