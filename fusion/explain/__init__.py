"""What a network is and does: parameter and operation counts, where it looks, how its fusion blocks decide."""
