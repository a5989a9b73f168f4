"""Memory, seconds, hours and money before a start."""
