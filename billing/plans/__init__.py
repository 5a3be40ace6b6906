"""Plans: what a customer has agreed to, the seconds it is given for it, and what it pays when that changes."""
