"""What is known about a study: what the lab configured, what the server was seen to have, its roster and settings."""
