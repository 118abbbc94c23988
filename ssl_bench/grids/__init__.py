"""Which runs a table or figure wants, which of them are there, and which are missing."""
