"""The files plane: stored objects, verified videos, probed images, signed links and byte ranges."""
