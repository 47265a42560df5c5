"""Synthetic head slices with lesions, and their writing in the published format."""
