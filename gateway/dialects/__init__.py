"""Client dialects: each a folder of pure parsing and rendering over gateway/video.py, and its routes."""
