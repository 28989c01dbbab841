"""The functions that fetch from the hub: what comes is never unpickled, and what does not come is said."""

from typing import Any

from huggingface_hub import hf_hub_download
from transformer_lens import utilities

from ...loading.pickle import load_state_dict_file


def get_dataset(dataset_name: str, **kwargs: Any) -> Any:
    """One of TransformerLens' sample data sets, downloaded.

    Raises:
        ConnectionError: it could not be fetched; the message says what to use instead.
    """
    try:
        return utilities.get_dataset(dataset_name, **kwargs)
    except (OSError, RuntimeError) as error:
        raise ConnectionError(
            f"the data set {dataset_name!r} could not be fetched; use texts of your own: "
            f"datasets.Dataset.from_dict({{'text': texts}}). The reason: {error}"
        ) from error


def download_file_from_hf(
    repo_name: str, file_name: str, subfolder: str = ".", force_is_torch: bool = False, **kwargs: Any
) -> Any:
    """A file of a repository on the hub: a state dict, the content of a JSON file, or else the path.

    Raises:
        ConnectionError: it could not be fetched.
        CheckpointError: a PyTorch file that holds more than tensors; TransformerLens would run its code.
    """
    if not force_is_torch and not file_name.endswith(".pth"):
        return utilities.download_file_from_hf(repo_name, file_name, subfolder=subfolder, **kwargs)
    try:
        path = hf_hub_download(repo_id=repo_name, filename=file_name, subfolder=subfolder, **kwargs)
    except OSError as error:
        raise ConnectionError(f"{file_name} of {repo_name} could not be fetched: {error}") from error
    return load_state_dict_file(path)
