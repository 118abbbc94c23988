"""`data init`: a data set's card by looking at its folder."""
