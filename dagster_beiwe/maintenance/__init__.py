"""Verify, repair, re-encrypt, and purge a lake."""
