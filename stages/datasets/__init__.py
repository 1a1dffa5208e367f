"""Sources of pairs, one file each; stages/choices.yaml lists them."""
