"""What is known about a study: what the lab configured, what the server reported, its roster and settings."""
