"""Files of benchmarks from the Hugging Face hub, kept in its own cache."""

from collections.abc import Mapping
from pathlib import Path

from tongwen.errors import DependencyError, SourceError
from tongwen.judge.benchmarks import MOST_BYTES, Fetch

_PATIENCE_S = 5.0
"""A hub that says nothing for so long is given up."""


def from_hub(places: Mapping[str, tuple[str, str]]) -> Fetch:
    """What fetches a benchmark's files by their names.

    Args:
        places: Data set and path inside it of each name.
    """

    def fetch(name: str) -> Path | None:
        if name not in places:
            return None
        repo, path = places[name]
        return fetch_file(repo, path)

    return fetch


def fetch_file(repo: str, path: str) -> Path | None:
    """A file of a data set; `HF_HOME`, `HF_ENDPOINT` and `HF_TOKEN` count.

    Returns:
        Where it lies; `None`: the data set has no such file.

    Raises:
        SourceError: The hub does not deliver it, or it is too large.
    """
    try:
        import httpx2
        from huggingface_hub import (
            get_hf_file_metadata,
            hf_hub_download,
            hf_hub_url,
            try_to_load_from_cache,
        )
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise DependencyError(f"the hub's library is not there: {error}") from error
    here = try_to_load_from_cache(repo, path, repo_type="dataset")
    if isinstance(here, str):
        return Path(here)
    try:
        url = hf_hub_url(repo, path, repo_type="dataset")
        size = get_hf_file_metadata(url, timeout=_PATIENCE_S).size
        if size is None or size > MOST_BYTES:
            raise OSError(f"it has {size} bytes; {MOST_BYTES} are taken")
        kept = hf_hub_download(repo, path, repo_type="dataset", etag_timeout=_PATIENCE_S)
    except LocalEntryNotFoundError as error:  # nobody answers, and it was never fetched
        raise _silent(repo, path, error) from error
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise _silent(repo, path, error) from error
    return Path(kept)


def _silent(repo: str, path: str, error: Exception) -> SourceError:
    said = " ".join(str(error).split())[:200]
    return SourceError(f"the hub does not give `{path}` of `{repo}`: {said}")
