"""What the many errors of the Hugging Face hub mean to a person."""

from __future__ import annotations

ENDPOINT = "https://huggingface.co"


def explain_hub_error(error: BaseException, name: str, instead: str) -> str:
    """Why `name` could not be had from the hub, in a clause; `instead` is the local way out, such as "a directory"."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import errors

    chain = _chain(error)
    if any(isinstance(item, errors.GatedRepoError) for item in chain):
        return f"access to it must be granted: accept its terms at {ENDPOINT}/{name} and log in with `hf auth login`"
    if any(isinstance(item, (errors.RepositoryNotFoundError, DatasetNotFoundError)) for item in chain):
        return f"the hub has nothing public of that name: check the spelling, log in, or give {instead}"
    unreachable = (ConnectionError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)
    if any(isinstance(item, unreachable) for item in chain):
        return f"the Hugging Face hub cannot be reached and the cache lacks it: check the network, or give {instead}"
    return first_line(error)


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def first_line(error: BaseException) -> str:
    """The first line of what an error says, its class where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
