"""Self supervision for attention networks: models, mask samplers, the search for surrogates, supervision."""

__version__ = "0.1.0"
