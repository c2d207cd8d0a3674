"""A published contract is frozen: its file is held against a base in git, and the registry."""

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.root import SCHEMAS
from headwater.assembly.subjects import value_subject
from headwater.config import Settings
from headwater.contract import Contract, registered_text
from headwater.contract.document import BadDocumentError, read_document
from headwater.errors import DeclarationError, Problem
from headwater.ports import Registry

GIT_S: Final = 10.0  # seconds for one call of git: it reads a local repository
CHANGED: Final = "PUBLISHED_CHANGED"


@contextmanager
def registry_of(settings: Settings) -> Iterator[Registry]:
    """The registry of the settings, closed afterwards."""
    with closing(SchemaRegistry(settings.registry)) as registry:
        yield registry


def changed_since(root: Path, base: str) -> list[Problem]:
    """Every contract that stands in `base` (a branch, tag or commit) and is not the same here.

    `deprecated` and `sunset` may differ. Raises DeclarationError (NO_BASE) when git cannot tell.
    """
    if not base:
        raise _no_base("--base is empty; name a branch, tag or commit, such as origin/main")
    nowhere = "git finds no repository of yours here; leave --base out"
    _git(root, nowhere, "rev-parse", "--git-dir")
    unknown = f"{base!r} is no branch, tag or commit of the git repository here; fetch it first"
    _git(root, unknown, "rev-parse", "--verify", "--quiet", f"{base}^{{commit}}")
    listed = _git(root, unknown, "ls-tree", "-r", "-z", "--name-only", base, "--", f"{SCHEMAS}/")
    problems = []
    for name in os.fsdecode(listed).split("\0"):
        if name.endswith(".avsc"):
            published = _document(_git(root, unknown, "show", f"{base}:./{name}"))
            text = _difference(root / name, published)
            if text is not None:
                text = f"it is published in {base} and {text}; {_REMEDY}"
                problems.append(Problem(CHANGED, text, str(root / name)))
    return problems


def changed_in_registry(
    versions: Mapping[str, Sequence[Contract]], registry: Registry
) -> list[Problem]:
    """Every schema of these topics' subjects that is none of the files.

    Raises UnavailableError when the registry does not answer.
    """
    problems = []
    for topic, contracts in versions.items():
        subject = value_subject(topic)
        known = [_document(each.text) for each in contracts]
        for found in registry.versions(subject) if contracts else ():
            document = _document(found.schema)
            if document not in known:
                nearest = min(contracts, key=lambda each: _distance(each, document))
                what = ", ".join(_changed(document, _document(nearest.text)))
                text = (
                    f"version {found.version} of {subject} in the registry is none of the files;"
                    f" v{nearest.version} is the nearest and differs in {what}; {_REMEDY}"
                )
                problems.append(Problem(CHANGED, text, str(nearest.path)))
    return problems


_REMEDY: Final = "a published contract is frozen: restore it, and write a new version v<N>.avsc"


def _distance(contract: Contract, document: Any) -> int:
    return len(_changed(document, _document(contract.text)))


def _difference(path: Path, published: Any) -> str | None:
    """What became of a published contract; None when it is as it was."""
    if published is None:
        return None  # it was no contract yet
    try:
        now = _document(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return "is gone"
    except OSError as error:
        return f"cannot be read here: {error.strerror}"
    changed = _changed(published, now)
    return f"differs in {', '.join(changed)}" if changed else None


def _document(text: str | bytes) -> Any:
    """The promises of a contract as JSON; None when the text is none, or no object."""
    try:
        schema = read_document(text if isinstance(text, str) else text.decode())
    except (BadDocumentError, UnicodeDecodeError):
        return None
    return json.loads(registered_text(schema)) if isinstance(schema, dict) else None


def _changed(one: Any, other: Any, path: str = "") -> list[str]:
    """The paths at which two documents differ; fields by their names."""
    if one == other:
        return []
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return [path or "everything"]
    found: list[str] = []
    for key in dict.fromkeys([*one, *other]):
        before, after = one.get(key), other.get(key)
        if before == after:
            continue
        if key == "fields" and isinstance(before, list) and isinstance(after, list):
            inside = _changed(_by_name(before), _by_name(after), path)
            found += inside or [f"{path}.order of fields".lstrip(".")]
        else:
            found += _changed(before, after, f"{path}.{key}".lstrip("."))
    return found


def _by_name(fields: Iterable[Any]) -> dict[str, Any]:
    return {str(each.get("name")): each for each in fields if isinstance(each, dict)}


def _git(root: Path, refusal: str, *arguments: str) -> bytes:
    """What git prints. Raises DeclarationError (NO_BASE), with `refusal` where git says no."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=GIT_S)
    except FileNotFoundError as error:
        raise _no_base("git is not installed; install it, or leave --base out") from error
    except subprocess.TimeoutExpired as error:
        raise _no_base(f"git did not answer within {GIT_S:g} s; try again") from error
    except subprocess.CalledProcessError as error:
        raise _no_base(refusal) from error
    return done.stdout


def _no_base(text: str) -> DeclarationError:
    return DeclarationError([Problem("NO_BASE", text)])
