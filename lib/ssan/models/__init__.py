"""The models of the three tasks, and the contract they share."""
