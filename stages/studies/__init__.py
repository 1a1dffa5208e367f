"""Experiments that answer a question together."""
