"""Income that is shared: with merchants and producers by agreement, with creators by views."""
