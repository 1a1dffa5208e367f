"""What the strategies share: the state of a choice, training by a budget, the pool."""
