"""Code that the networks share: layers, building, and reading a saved network."""
