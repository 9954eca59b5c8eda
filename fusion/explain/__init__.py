"""What a network is and what a run did: parameter and operation counts, pictures."""
