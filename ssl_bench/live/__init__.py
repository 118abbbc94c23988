"""Views of a store while runs are trained: on a terminal, and as pages of a local server. They only read."""
