"""Prices: immutable rate cards, and one pure function that quotes, holds and charges from them."""
