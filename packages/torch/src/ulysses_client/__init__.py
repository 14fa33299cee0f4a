"""A sequence owner in Python, without PyTorch: plans, wire, errors and the exchange. `ulysses_torch` is built on it."""
