"""elbo: train VAEs and say how tight the evidence lower bound is, with a guarantee, an error bar and a verdict."""

__version__ = "0.1.0"
