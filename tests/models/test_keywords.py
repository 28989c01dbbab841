"""A misspelt keyword of `from_pretrained` is told the nearest right one, before anything is loaded."""

import pytest

from models import HookedTransformer


@pytest.mark.parametrize(
    ("keyword", "remedy"),
    [
        ("fold_layernorm", "Did you mean 'fold_ln'"),
        ("centre_unembed", "Did you mean 'center_unembed'"),
        ("quantise", "It takes fold_ln, center_writing_weights, .*, device, dtype"),
    ],
)
def test_a_misspelt_keyword_is_told_what_was_meant(keyword, remedy):
    with pytest.raises(TypeError, match=f"^from_pretrained takes no keyword '{keyword}'. {remedy}"):
        HookedTransformer.from_pretrained("no such model", **{keyword: True})
    assert HookedTransformer.from_pretrained("stdlib-1h", device="cpu", fold_ln=True).cfg.normalization_type == "LNPre"


def test_without_processing_there_is_less_to_ask_for():
    with pytest.raises(TypeError, match=r"_no_processing takes no keyword 'fold_ln'. It takes device, dtype\."):
        HookedTransformer.from_pretrained_no_processing("stdlib-1h", fold_ln=False)
