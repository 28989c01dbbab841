"""Numbers are put beside one another only where they belong to the same cells and prompts."""

import pytest
import torch
from torch.testing import assert_close

from interp.errors import AlignmentError
from interp.statistics import over_prompts

from .made_effects import drawn, made


def test_the_difference_is_paired_prompt_by_prompt():
    one = made()
    shift, base = drawn(8, seed=9), drawn(8, seed=10)
    # Another model may start from elsewhere: it is the effects that are compared, not the values.
    other = made(
        values=one.values + (shift + base)[:, None, None, None] + 0.5, corrupted=one.corrupted + base, clean=one.clean
    )
    found = one.difference(other)
    expected = over_prompts(one.change - other.change)
    assert_close(found.mean, expected.mean)
    assert_close(found.low, expected.low)
    assert_close(found.mean, torch.full((2, 3, 4), -0.5 - float(shift.mean()), dtype=torch.float64))
    # Paired: what varies from cell to cell in both alike is gone.
    assert_close(found.standard_error, torch.full((2, 3, 4), float(shift.std() / 8**0.5), dtype=torch.float64))
    templates = made(clusters=tuple("aabbccdd"))
    assert_close(
        templates.difference(other).low, over_prompts(one.change - other.change, clusters=tuple("aabbccdd")).low
    )


def test_agreement_is_relative_to_the_largest_value():
    one = made()
    values = one.values.clone()
    values[3, 1, 0, 2] += 1e-9
    other = made(values=values)
    assert one.agrees(one)
    assert not one.agrees(other)
    assert one.agrees(other, tolerance=1e-8)
    assert made(values=1e6 * one.values).agrees(made(values=1e6 * one.values + 1e-9))
    values[3, 1, 0, 2] = torch.nan
    assert not one.agrees(made(values=values))


DIFFERENT = {
    "metric: logit difference and loss, nats": {"metric": "loss, nats"},
    "direction: denoising and noising": {"direction": "noising"},
    "axes: 'layer', 'head', 'pos' and 'layer', 'head', 'query'": {"axes": ("layer", "head", "query")},
    "coordinates of layer: 3 to 4 and 3, 5": {"coordinates": ((3, 5), (0, 2, 5), (4, 5, 6, 7))},
    "clean tokens": {"tokens_clean": tuple(tuple(f" x{at}" for at in range(8)) for _ in range(8))},
    "digest of corrupted tokens: abc and abd": {"provenance": {"clean": "a", "corrupted": "abd"}},
    "templates: 'a', 'a', 'b', 'b', 'c', 'c', 'd', 'd' and": {"clusters": tuple("abcdabcd")},
}


@pytest.mark.parametrize("said", DIFFERENT)
def test_what_does_not_align_is_not_compared(said):
    known = {"provenance": {"clean": "a", "corrupted": "abc"}, "clusters": tuple("aabbccdd")}
    one, other = made(**known), made(**{**known, **DIFFERENT[said]})
    for compared in (one.difference, one.agrees):
        with pytest.raises(AlignmentError, match=said):
            compared(other)
        compared(made(**known))


def test_what_only_one_of_them_knows_does_not_part_them():
    known = made(provenance={"clean": "a"}, clusters=tuple("aabbccdd"))
    assert known.agrees(made(tokens_clean=(), tokens_corrupted=()))
    assert made(tokens_clean=()).agrees(known)


def test_selections_align_if_they_are_of_the_same_cells():
    one = made()
    assert one.sel(layer=3).agrees(made().sel(layer=3))
    with pytest.raises(AlignmentError, match=r"selected: \(\('layer', 3\),\) and \(\('layer', 4\),\)"):
        one.sel(layer=3).difference(one.sel(layer=4))
    with pytest.raises(AlignmentError, match="coordinates of pos: 4 to 5 and 4 to 7"):
        one.sel(pos=slice(4, 6)).difference(one)
    fewer = {name: getattr(one, name)[:5] for name in ("values", "clean", "corrupted")}
    with pytest.raises(AlignmentError, match="prompts: 8 and 5"):
        one.difference(made(**fewer, tokens_clean=(), tokens_corrupted=()))


PARTS = {
    r"values has shape \[8, 2, 3, 5\]; the prompts and coordinates make it \[8, 2, 3, 4\]": {
        "values": drawn(8, 2, 3, 5)
    },
    r"dead has shape \[3, 2, 4\]": {"dead": torch.zeros(3, 2, 4).bool()},
    r"clean has shape \[7\]; the prompts and coordinates make it \[8\]": {"clean": drawn(7)},
    r"corrupted has shape \[9\]": {"corrupted": drawn(9)},
    r"noise_floor has shape \[1\]": {"noise_floor": drawn(1)},
    r"clusters has shape \[3\]": {"clusters": ("a", "b", "c")},
    r"tokens_clean has shape \[2\]": {"tokens_clean": (("a",), ("b",))},
    r"axes \['layer', 'pos', 'pos'\] must differ": {"axes": ("layer", "pos", "pos")},
    r"axes \['layer', 'head'\] must differ, .* those of 3": {"axes": ("layer", "head")},
    r"head has 2 twice": {"coordinates": ((3, 4), (2, 0, 2), (4, 5, 6, 7))},
    r"head has no coordinates": {"coordinates": ((3, 4), (), (4, 5, 6, 7))},
}


@pytest.mark.parametrize("said", PARTS)
def test_parts_that_do_not_fit_one_another_are_no_effects(said, as_users_run_it):
    with pytest.raises(AlignmentError, match=said):
        made(**PARTS[said])
    made()
