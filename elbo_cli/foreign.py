"""The user's own model: made by a factory that is named, and named in turn where it fails."""

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.errors import RunError, UserError, nearest
from elbo_cli.files import looking

METHODS = ("prior", "posterior", "likelihood")
DRAWS = 3
CURE = "torch.distributions.Independent(..., n) makes the last n axes of a batch the event."
LIBRARIES = (str(Path(__file__).parent), str(Path(torch.__file__).parent), "importlib")  # not the user's own code


def is_factory(name: str) -> bool:
    """Whether `package.module:factory` is meant, and not a file.

    Raises:
        UserError: the system will not say whether there is one.
    """
    with looking(name):
        return ":" in name and not Path(name).exists()


def make(name: str) -> LatentVariableModel:
    """Call the user's factory. This is the only door to user code.

    Raises:
        UserError: no such module or function, it raises, or what it makes is no latent-variable model.
    """
    module, _, attribute = name.partition(":")
    cure = "Give package.module:factory, a function without arguments, importable from here."
    with blaming(f"Cannot make a model from '{name}'", cure), _importing_from_here():
        home = importlib.import_module(module)
        if not hasattr(home, attribute):
            functions = [key for key, value in vars(home).items() if callable(value)]
            raise UserError(f"The module {module} has no '{attribute}'.{nearest(attribute, functions)} {cure}")
        model = getattr(home, attribute)()
    missing = [method for method in METHODS if not callable(getattr(model, method, None))]
    if missing:
        raise UserError(
            f"What '{name}' made, a {type(model).__name__}, has no method {', '.join(missing)}: "
            "a model needs prior(), posterior(x) and likelihood(z)."
        )
    return model  # type: ignore[no-any-return]


def refuse_shapes(name: str, model: LatentVariableModel, x: Tensor) -> None:
    """Insist on batch and event where the waist has them: what broadcasts by accident would give numbers, wrong ones.

    Args:
        name: what the user calls the model.
        model: the three distributions.
        x: a few data, [N, ...].

    Raises:
        UserError: a shape is not what it must be; the sentence has both.
    """
    qz_x, pz = model.posterior(x), model.prior()
    px_z = model.likelihood(qz_x.sample(torch.Size([DRAWS])))
    if len(qz_x.event_shape) != 1:
        raise UserError(f"{name}: posterior(x) has the event shape {tuple(qz_x.event_shape)}, not (D,). {CURE}")
    for what, found, wanted in (
        (f"posterior(x) of {len(x)} data has the batch shape", qz_x.batch_shape, x.shape[:1]),
        ("prior() has the batch shape", pz.batch_shape, ()),
        ("prior() has the event shape", pz.event_shape, qz_x.event_shape),
        (f"likelihood(z) of {DRAWS} draws for {len(x)} data has the batch shape", px_z.batch_shape, (DRAWS, len(x))),
        ("likelihood(z) has the event shape", px_z.event_shape, x.shape[1:]),
    ):
        if tuple(found) != tuple(wanted):
            raise UserError(f"{name}: {what} {tuple(found)}, not {tuple(wanted)}. {CURE}")


@contextmanager
def _importing_from_here() -> Iterator[None]:
    """Let the user's file lie in the current folder, as python -m does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with suppress(ValueError):  # user code may have changed the path
            sys.path.remove(here)


@contextmanager
def blaming(what: str, cure: str = "") -> Iterator[None]:
    """Turn whatever a user's code raises into a sentence with its type, its message and its last line.

    Raises:
        UserError: in the place of any exception but our own and Ctrl-C; SystemExit too, which a script may raise.
    """
    try:
        yield
    except (UserError, RunError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        said = " ".join(str(error).split())[:300].rstrip(".")
        raise UserError(f"{what}: {type(error).__name__}: {said}{_place(error)}. {cure}".rstrip()) from error


def _place(error: BaseException) -> str:
    """The last line of the user's own code that an exception came through, as ` (model.py, line 3)`."""
    if isinstance(error, SyntaxError):
        return ""  # its message has the place
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(part in f.filename for part in LIBRARIES)]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
