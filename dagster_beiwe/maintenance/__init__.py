"""Prove, mend, re-encrypt and purge a lake."""
