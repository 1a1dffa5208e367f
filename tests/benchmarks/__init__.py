"""Benchmarks: ours beside the plain version, in turns, on the same machine in the same run; `make bench`."""
