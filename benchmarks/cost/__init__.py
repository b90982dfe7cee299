"""What a study costs: requests, bytes, and seconds of the server; disk, memory, and processor of the client."""
