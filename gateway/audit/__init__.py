"""The trail: who did what to an organization, and who was refused."""
