"""Who may call: organizations, projects, API keys."""
