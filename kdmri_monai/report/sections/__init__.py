"""Sections of the report page, one file each: what is read from the runs, and how it is said."""
