"""Ways to choose the core, one file each; stages/choices.yaml lists them."""
