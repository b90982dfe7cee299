"""A stand-in for the package of this name: the same functions and files, with hardly anything in them."""

import os

assert not [name for name, value in os.environ.items() if name.startswith("BEIWE_") and value], "a secret came along"
