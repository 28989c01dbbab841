"""The table of architectures: `python -m tests.models.loading.table` prints it."""

from tempfile import TemporaryDirectory

from analyses.foreign_words import without_foreign_words
from models import HookedTransformer
from tests.models.loading.architectures import CASES, tiny
from tests.models.loading.comparison import compared


def main() -> None:
    """One line for each case: the largest absolute differences in float64 between `transformers` and ours."""
    print("| Model type | Largest logit | Logits | Streams | Padded logits | Generation equal (distinct tokens) |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        theirs = tiny(case)
        with TemporaryDirectory() as folder:
            with without_foreign_words():
                theirs.save_pretrained(folder)
            ours = HookedTransformer.from_pretrained_no_processing(folder, device="cpu")
        found = compared(theirs, ours)
        equal = f"{'yes' if found.generation_is_equal else 'NO'} ({found.n_distinct_tokens})"
        print(
            f"| {case} | {found.largest_logit:.1f} | {found.logits:.1e} | {found.streams:.1e} | {found.padded:.1e} "
            f"| {equal} |"
        )


if __name__ == "__main__":
    main()
