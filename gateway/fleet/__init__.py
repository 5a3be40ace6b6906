"""The fleet: servers that generate video."""
