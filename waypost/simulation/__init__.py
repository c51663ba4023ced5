"""Journeys on a simulated clock: the real workflow, gate and decisions, months in seconds, nothing sent."""
