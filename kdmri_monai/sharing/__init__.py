"""Bundles for other labs: packed, checked and run."""
