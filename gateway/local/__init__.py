"""What `tallylight up` starts on one machine."""
