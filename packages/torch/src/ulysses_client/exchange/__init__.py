"""The sequence owner's side of the exchange."""
