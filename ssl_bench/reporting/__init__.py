"""Tables as pure functions of the results store: same store, same bytes."""
