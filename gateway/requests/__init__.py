"""The log of API calls: what each key asked, how it was answered, and how long that took."""
