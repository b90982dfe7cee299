"""What the project consists of: each file here, and each folder with a ``defs.yaml``."""
