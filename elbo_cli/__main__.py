"""`python -m elbo_cli` is `elbo`."""

from elbo_cli.cli import main

main()
