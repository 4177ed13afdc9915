"""The data sets that there are, by name: each a function of its options and the run's seed."""

from collections.abc import Callable

from elbo_cli.data.arrays import arrays
from elbo_cli.data.digits import digits
from elbo_cli.data.idx import fashion_mnist, mnist
from elbo_cli.data.linear_gaussian import linear_gaussian
from elbo_cli.data.split import Dataset

SOURCES: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "linear_gaussian": linear_gaussian,
    "arrays": arrays,
}
