"""How people sign in: persons, their second factor, sessions, invitations, and the providers of their organizations."""
