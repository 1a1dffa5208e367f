"""Networks, one file each; stages/choices.yaml lists them."""
