"""Starts that came later than promised, and what is given back for them."""
