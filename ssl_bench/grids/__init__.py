"""The runs that a table or figure needs: which exist and which are missing."""
