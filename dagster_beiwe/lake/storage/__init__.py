"""Where the lake's bytes are: a local folder, or any object store that fsspec knows."""
