"""The only way out: requests to addresses that customers name."""
