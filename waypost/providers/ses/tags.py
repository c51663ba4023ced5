"""The tags that every email of ours carries."""

ATTEMPT_TAG = "waypost_attempt"
"""Brings the attempt's id back in every event; needs a configuration set with event publishing."""
