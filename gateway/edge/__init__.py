"""What every HTTP route shares: who calls, what they sent, how they are answered."""
