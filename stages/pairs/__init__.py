"""A set of pairs in Zarr, and the tables of its rows."""
