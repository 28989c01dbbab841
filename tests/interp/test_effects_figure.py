"""The figure shows the numbers, says which cells cannot matter, and what is beyond chance."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from interp.effects import Effects
from interp.errors import AxisError

from .made_effects import POSITIONS, drawn, made

AS_SHOWN = ["4 ·w4", "5 ·w5 → ·v5", "6 ·w6", "7 ·w7"]


def maps(figure: go.Figure) -> list[go.Heatmap]:
    return [trace for trace in figure.data if isinstance(trace, go.Heatmap)]


def labels_of(axis: go.layout.XAxis) -> dict[int, str]:
    return dict(zip(axis.tickvals, axis.ticktext, strict=True))


def test_a_map_has_the_mean_of_each_cell_and_gaps_where_none_can_matter():
    effects = made().sel(layer=3)
    (drawn_map,) = maps(effects.figure())
    assert np.isnan(drawn_map.z[0]).all()
    np.testing.assert_array_equal(drawn_map.z[1:], effects.mean[1:].numpy())
    assert [tip.count("cannot matter") for tip in drawn_map.customdata.flatten()] == [1] * 4 + [0] * 8
    assert drawn_map.hoverongaps is not False


def test_positions_carry_their_tokens_and_other_axes_their_coordinates():
    figure = made().sel(layer=4).figure()
    assert labels_of(figure.layout.xaxis) == dict(enumerate(AS_SHOWN))
    assert labels_of(figure.layout.yaxis) == {0: "0", 1: "2", 2: "5"}
    assert figure.layout.xaxis.title.text == "pos (tokens of the first of 8 prompts)"
    assert figure.layout.yaxis.title.text == "head"
    plain = made(tokens_clean=(), tokens_corrupted=()).sel(layer=4).figure()
    assert labels_of(plain.layout.xaxis) == dict(enumerate(map(str, POSITIONS)))
    assert plain.layout.xaxis.title.text == "pos"


def test_tokens_are_shown_as_text_whatever_they_contain():
    tokens = (("<b>", "\n\t", "", "&amp;\u202e", " a", "b", "c", "d"),) * 8
    effects = made(
        tokens_clean=tokens, tokens_corrupted=tokens, coordinates=((3, 4), (0, 2, 5), (0, 1, 2, 3)), metric="p <b>"
    )
    figure = effects.sel(layer=4).figure()
    assert labels_of(figure.layout.xaxis) == {0: "0 &lt;b&gt;", 1: "1 ⏎⇥", 2: "2 ∅", 3: r"3 &amp;amp;\u202e"}
    assert "p &lt;b&gt;" in figure.layout.title.text


def test_significant_cells_are_marked_and_the_title_says_for_how_many_cells_p_is_adjusted():
    effects = made()
    figure = effects.figure()
    marks = np.stack([one.text for one in maps(figure)])
    np.testing.assert_array_equal(marks == "•", effects.significant.numpy())
    assert "• p < 0.05, adjusted for 20 cells; grey: 4 cells cannot matter" in figure.layout.title.text
    few = {name: getattr(effects, name)[:4] for name in ("values", "clean", "corrupted")}
    unmarked = made(**few, tokens_clean=(), tokens_corrupted=()).figure()
    assert "no cell can be marked: with so few prompts p is at least 0.12" in unmarked.layout.title.text
    assert {mark for one in maps(unmarked) for mark in one.text.flatten()} == {""}


def test_three_axes_are_a_map_for_each_coordinate_of_the_first_on_one_scale():
    effects = made()
    figure = effects.figure()
    assert [note.text for note in figure.layout.annotations] == ["layer 3", "layer 4"]
    shown = np.stack([one.z for one in maps(figure)])
    np.testing.assert_array_equal(shown, np.where(effects.dead, np.nan, effects.mean))
    assert {one.coloraxis for one in maps(figure)} == {"coloraxis"}
    scale = figure.layout.coloraxis
    assert (scale.cmin, scale.cmid, scale.cmax) == (-float(effects.mean.max()), 0.0, float(effects.mean.max()))


def test_rounding_does_not_get_the_colours_of_a_finding():
    effects = made()
    tiny = made(values=effects.corrupted[:, None, None, None] + 1e-14 * effects.change)
    assert tiny.figure().layout.coloraxis.cmax == pytest.approx(0.1 * float(effects.gap.mean()))


def test_bars_have_their_intervals_and_marks():
    effects = made(
        axes=("set",), coordinates=(("up", "down", "dead", "none"),), dead=torch.tensor([False, False, True, False]),
        values=made().corrupted[:, None] + 0.3 * drawn(8, 4) + torch.tensor([2.0, -3.0, 0.0, 0.0]),
    )  # fmt: skip
    figure = effects.figure()
    bars, marks, dead = figure.data
    live = [0, 1, 3]
    assert list(bars.x) == live
    np.testing.assert_array_equal(bars.y, effects.mean[live])
    np.testing.assert_allclose(bars.y + bars.error_y.array, effects.effect.high[live], rtol=1e-14)
    np.testing.assert_allclose(bars.y - bars.error_y.arrayminus, effects.effect.low[live], rtol=1e-14)
    up, down, _ = bars.marker.color
    assert up != down
    assert (list(marks.x), list(marks.text)) == ([0, 1], ["•", "•"])
    # Beyond the ends of the interval.
    assert list(marks.y) == [float(effects.effect.high[0]), float(effects.effect.low[1])]
    assert (list(dead.x), list(dead.text)) == ([2], ["×"])
    assert labels_of(figure.layout.xaxis) == {0: "up", 1: "down", 2: "dead", 3: "none"}


def test_what_a_cell_says_when_it_is_pointed_at():
    effects = made()
    tip = maps(effects.figure())[1].customdata[2, 2]
    assert tip.startswith("layer 4, head 5, pos 6 ·w6<br>effect +2 (+2 to +2)<br>share ")
    assert f"share {float(effects.normalised.mean[1, 2, 2]):+.1%}<br>adjusted p 0.0078, q " in tip


def test_one_prompt_has_a_figure_without_intervals_and_marks():
    one = {name: getattr(made(), name)[:1] for name in ("values", "clean", "corrupted", "tokens_clean")}
    effects = made(**one, tokens_corrupted=())
    for figure in (effects.figure(), effects.sel(layer=4, head=5).figure()):
        assert "p is at least 1" in figure.layout.title.text
        json.loads(figure.to_json())


def test_more_axes_than_can_be_drawn_are_refused():
    effects = made()
    with pytest.raises(AxisError, match=r"one to three axes, not 0 \(\): fix some with sel"):
        effects.sel(layer=4, head=5, pos=6).figure()
    four = Effects(
        point="blocks.*.attn.hook_pattern", intervention="zero", direction="noising", metric="m",
        axes=("layer", "head", "query", "key"), coordinates=((0, 1), (0,), (0, 1, 2), (0, 1)),
        values=drawn(5, 2, 1, 3, 2), clean=drawn(5), corrupted=drawn(5, seed=1), dead=torch.zeros(2, 1, 3, 2).bool(),
    )  # fmt: skip
    with pytest.raises(AxisError, match=r"not 4 \(layer, head, query, key\)"):
        four.figure()
    assert len(maps(four.sel(head=0).figure())) == 2


def test_an_axis_of_many_coordinates_is_labelled_here_and_there():
    effects = made(
        axes=("layer", "neuron"), coordinates=((0, 1), tuple(range(500))), values=drawn(8, 2, 500),
        dead=torch.zeros(2, 500).bool(),
    )  # fmt: skip
    labels = labels_of(effects.figure().layout.xaxis)
    assert 30 <= len(labels) <= 60
    assert all(str(at) == label for at, label in labels.items())
