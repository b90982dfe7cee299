"""A stand-in for the package of this name: the same functions and files, with hardly anything in them."""
