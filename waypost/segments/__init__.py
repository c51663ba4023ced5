"""Segments: the language of rules over contacts, and what a rule means. Nothing here reads or writes anything."""
