"""Bank: what finance books from the bank's statement and from suppliers' bills."""
