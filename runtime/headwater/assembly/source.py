"""Runs an author's product.py and finds the product in it. Every failure names file and line."""

import importlib.util
import sys
import traceback
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from zlib import crc32

from headwater.errors import DeclarationError, Problem
from headwater.product import DataProduct

FILE_NAME: Final = "product.py"


class _FreshLoader(SourceFileLoader):
    """Neither reads nor writes bytecode: what is kept of a file of the same size and second is old.

    A checkout in between two commands makes such a file.
    """

    def path_stats(self, path: str) -> Mapping[str, Any]:
        """Raises OSError: without a time there is nothing to compare bytecode with."""
        message = f"{path} is compiled each time"
        raise OSError(message)


def read_product(file: Path) -> DataProduct:
    """The one DataProduct that `file` declares at its top level. May have problems of its own.

    The file can import modules beside it; what it prints goes to standard error, because standard
    output belongs to the command that asks. Raises DeclarationError when it cannot be run.
    """
    module = _execute(file)
    products = [value for value in vars(module).values() if isinstance(value, DataProduct)]
    if len({id(product) for product in products}) != 1:
        text = f"declares {len(products)} products; write one DataProduct at the top level"
        raise DeclarationError([Problem("NO_PRODUCT", text, str(file))])
    return products[0]


def _execute(file: Path) -> ModuleType:
    # two definitions of one product stand in folders of one name, and both may be at work
    name = f"headwater_product_{'_'.join(file.parts[-3:-1])}_{crc32(bytes(file)):08x}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None:
        raise DeclarationError([Problem("NO_PRODUCT", "is no Python file", str(file))])
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.modules[name] = module  # models and annotations are resolved through it
    sys.path.insert(0, str(file.parent))
    try:
        with redirect_stdout(sys.stderr):
            _FreshLoader(name, str(file)).exec_module(module)
    except DeclarationError:
        raise
    except SyntaxError as error:
        raise _unreadable(file, f"SyntaxError: {error.msg}", error.lineno) from error
    except OSError as error:
        raise _unreadable(file, f"cannot be read: {error.strerror}", None) from error
    except SystemExit as error:
        text = "ends the process (sys.exit); a product only declares"
        raise _unreadable(file, text, _line(file, error)) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a library's panic is no Exception
        raise _unreadable(file, f"{type(error).__name__}: {error}", _line(file, error)) from error
    finally:
        sys.path.remove(str(file.parent))
        _forget_neighbours(file.parent, before)
    return module


def _unreadable(file: Path, text: str, line: int | None) -> DeclarationError:
    return DeclarationError([Problem("PRODUCT_RAISED", text, str(file), line)])


def _line(file: Path, error: BaseException) -> int | None:
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == str(file)), None)


def _forget_neighbours(folder: Path, before: set[str]) -> None:
    """Two products may each have a `rules.py` or a package: none must find another's."""
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
        is_product = Path(places[0]).name == FILE_NAME
        if not is_product and any(Path(place).is_relative_to(folder) for place in places):
            del sys.modules[name]
    importlib.invalidate_caches()
