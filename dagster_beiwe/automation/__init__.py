"""What runs automatically: schedules, and sensors that follow the roster and the server's counts. Most are off by
default."""
