"""Journeys: the language, its validation, its plan, and what it means. Nothing here reads or writes anything."""
