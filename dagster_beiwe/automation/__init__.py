"""What runs by itself: schedules, and sensors that follow the roster and the server's counts. All off by default."""
