"""Metrics with intervals, by slice and by patient."""
