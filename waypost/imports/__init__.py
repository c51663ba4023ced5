"""Pure: a CSV file of contacts, from bytes to what the store takes."""
