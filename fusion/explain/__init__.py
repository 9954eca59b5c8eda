"""What a network is: parameter and operation counts."""
