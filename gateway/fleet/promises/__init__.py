"""What the leader publishes of its queue, and what API processes promise from it."""
