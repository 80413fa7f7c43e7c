"""What may follow, as finite automata."""
