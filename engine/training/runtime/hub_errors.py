"""Explanations of the errors of the Hugging Face hub."""

from __future__ import annotations

ENDPOINT = "https://huggingface.co"


def explain_hub_error(error: BaseException, name: str, instead: str) -> str:
    """Say why `name` could not be loaded from the hub; `instead` is the local alternative, such as "a directory"."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import errors

    chain = _chain(error)
    if any(isinstance(cause, errors.GatedRepoError) for cause in chain):
        return f"access to it must be granted: accept its terms at {ENDPOINT}/{name} and log in with `hf auth login`"
    if any(isinstance(cause, errors.RevisionNotFoundError) for cause in chain):
        return "it has no commit, tag or branch with the name in revision: correct it, or leave it empty"
    if any(isinstance(cause, (errors.RepositoryNotFoundError, DatasetNotFoundError)) for cause in chain):
        return f"the hub has nothing public with that name: check the spelling, log in, or give {instead}"
    unreachable = (ConnectionError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)
    if any(isinstance(cause, unreachable) for cause in chain):
        return (
            f"the Hugging Face hub cannot be reached, and it is not in the cache: check the network, or give {instead}"
        )
    return first_line(error)


def is_refused(error: BaseException) -> bool:
    """Return whether the hub has answered that there is no such thing, or that access to it must be granted."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import errors

    # A GatedRepoError is a RepositoryNotFoundError.
    refusals = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, DatasetNotFoundError)
    return any(isinstance(cause, refusals) for cause in _chain(error))


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def first_line(error: BaseException) -> str:
    """Return the first line of the error's message, or its class if the message is empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
