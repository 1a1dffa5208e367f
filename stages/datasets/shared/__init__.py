"""Code that the sources share: to find, split, read and cut files."""
