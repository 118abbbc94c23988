"""Statistics of arrays of scores. Nothing here knows runs, cards or files."""
