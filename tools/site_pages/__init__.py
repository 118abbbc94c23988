"""Pages of the documentation site that are made from the code, the cards and the stored runs."""
