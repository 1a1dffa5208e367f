"""How long the pipeline will take, and how much memory and disk: measured on a few pairs."""
