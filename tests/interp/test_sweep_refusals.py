"""What a sweep refuses before it runs, and what it does not take for the same as an earlier one."""

import pytest
import torch
from torch.testing import assert_close

from interp import joint, sweep
from interp.digests import tensor_digest, weights_digest
from interp.edges import edge_effects
from interp.engine.wavefront import Wavefront
from interp.errors import (
    AxisError,
    DegenerateBaselineError,
    EngineError,
    JournalError,
    MetricError,
    OutOfRangeError,
    TokensError,
    VerificationError,
)
from interp.metrics import Function, LogitDifference, Probability
from interp.prepared_sweep import PreparedSweep
from interp.rounding import rounding_of

from ..conftest import order_one_model, random_tokens

ANSWER, WRONG = torch.tensor([3, 0, 1]), torch.tensor([4, 2, 0])
CLEAN, CORRUPTED = random_tokens(3, 6, seed=1), random_tokens(3, 6, seed=2)
METRIC = LogitDifference(ANSWER, WRONG)
OVER = ("layer", "head")


def swept(model, metric=METRIC, point: str = "z", over=OVER, **options):
    return sweep(model, CLEAN, CORRUPTED, point, over, metric, **{"direction": "denoising", **options})


def test_functions_of_other_code_are_other_metrics_to_a_folder(tmp_path):
    model = order_one_model()
    first = Function("mine", lambda logits: logits[:, -1, 5])
    swept(model, first, out=tmp_path)
    with pytest.raises(JournalError, match=r"holds another sweep .*metrics: "):
        swept(model, Function("mine", lambda logits: 100 * logits[:, -1, 9]), out=tmp_path)
    swept(model, first, out=tmp_path)

    def scaled(by: float) -> Function:
        return Function("scaled", lambda logits: by * logits[:, -1, 5])

    swept(model, scaled(2.0), out=tmp_path / "scaled")
    with pytest.raises(JournalError, match=r"holds another sweep .*metrics: "):
        swept(model, scaled(3.0), out=tmp_path / "scaled")
    swept(model, scaled(2.0), out=tmp_path / "scaled")


def test_other_weights_configs_and_interventions_are_other_sweeps_to_a_folder(tmp_path):
    model = order_one_model()
    swept(model, out=tmp_path)
    before = weights_digest(model)
    with torch.no_grad():
        model.unembed.W_U.data.mul_(3)
    assert weights_digest(model) != before
    with pytest.raises(JournalError, match=r"holds another sweep .*weights: "):
        swept(model, out=tmp_path)
    with pytest.raises(JournalError, match=r"holds another sweep .*config: "):
        swept(order_one_model(eps=0.1), out=tmp_path)
    with pytest.raises(JournalError, match=r"holds another sweep .*arguments: "):
        swept(order_one_model(), intervention="mean", per_position=False, out=tmp_path)
    hooked = order_one_model()
    hooked.add_hook("blocks.0.hook_resid_pre", lambda stream, hook: 2 * stream)
    with pytest.raises(JournalError, match=r"the model has hooks, the first at blocks\.0\.hook_resid_pre"):
        swept(hooked, out=tmp_path)
    swept(hooked)


def test_a_mean_over_positions_needs_positions():
    model = order_one_model()
    options = {"intervention": "mean", "direction": "noising"}
    for point in ("pattern", "attn_scores"):
        with pytest.raises(AxisError, match="needs an axis 'pos'; the point has batch, head, query, key"):
            swept(model, point=point, per_position=False, **options)
        swept(model, point=point, **options)
    flat, by_position = (swept(model, per_position=which, **options) for which in (False, True))
    assert not torch.allclose(flat.values, by_position.values)


def test_rounding_is_in_the_unit_of_the_metric():
    logits = torch.zeros(2, 1, 4, dtype=torch.bfloat16)
    logits[:, 0, 0] = torch.tensor([0.5, 15.0])
    probability = Probability(torch.tensor([0, 0]))
    small, sure = rounding_of(probability, logits).tolist()
    assert small > 0
    assert (
        sure < 1e-4 < 0.1 < float(rounding_of(LogitDifference(torch.tensor([0, 0]), torch.tensor([1, 1])), logits)[1])
    )


def test_a_probability_is_no_degenerate_metric_in_sixteen_bits():
    model = order_one_model(dtype=torch.bfloat16)
    probability = Probability(model(CLEAN)[:, -1].argmax(dim=-1))
    swept(model, probability)
    with pytest.raises(DegenerateBaselineError):
        swept(model, Function("constant", lambda logits: torch.ones(len(logits), dtype=torch.float64)))


def test_an_engine_that_is_off_by_more_than_a_probability_is_rounded_is_found(monkeypatch):
    model, probability = order_one_model(dtype=torch.float32), Probability(ANSWER)
    assert swept(model, probability, verify=100).verification.largest_difference < 1e-6
    part = Wavefront.part
    monkeypatch.setattr(Wavefront, "part", lambda self, chunk: part(self, chunk) + 0.004)
    with pytest.raises(VerificationError, match=r"differs by 0\.004"):
        swept(model, probability, verify=100)


def test_arguments_that_would_do_nothing_or_make_no_sense_are_refused(monkeypatch, as_users_run_it):
    model = order_one_model()
    monkeypatch.setattr(PreparedSweep, "values", lambda *given: pytest.fail("it ran"))
    for options, message in (
        ({"reference": CLEAN, "intervention": "zero"}, "reference is for 'mean' and 'resample'"),
        ({"per_position": False}, "per_position=False is for 'mean'"),
        ({"vector": torch.ones(6)}, "vector is what 'add' adds"),
        ({"freeze": "pattern"}, r"freeze='pattern' must be a list"),
        ({"engine": "wave"}, "engine='wave' must be one of"),
        ({"verify": -2}, "verify=-2 must be a number of cells"),
        ({"verify": 2.5}, "verify=2.5 must be a number of cells"),
    ):
        with pytest.raises(ValueError, match=message):
            swept(model, **options)
    with pytest.raises(TokensError, match="clusters must name the template of each of 3 prompts"):
        swept(model, clusters=["a", "b"])
    with pytest.raises(TokensError, match="clusters must name the template of each of 3 prompts"):
        swept(model, clusters="abc")
    for heads in ([1, 1], [-1, 3]):
        with pytest.raises(OutOfRangeError, match="must name none twice"):
            swept(model, only={"head": heads})
    with pytest.raises(OutOfRangeError, match=r"must be a list of indices, \[1\]"):
        swept(model, only={"head": 1})
    for clean in (CLEAN.tolist(), "some text"):
        with pytest.raises(TokensError, match=r"the clean tokens must be a tensor \[prompt, pos\], not a (list|str)"):
            sweep(model, clean, CORRUPTED, "z", OVER, METRIC, direction="noising")
    with pytest.raises(MetricError, match=r"is no Metric; interp.Function\(label, function\)"):
        swept(model, lambda logits: logits[:, -1, 0])
    with pytest.raises(EngineError, match="max_memory is kept by engine='wavefront' alone"):
        swept(model, engine="hooks", max_memory=10**9)
    with pytest.raises(ValueError, match="engine='wave' must be one of"):
        edge_effects(model, CLEAN, CORRUPTED, METRIC, direction="denoising", engine="wave")


def test_nothing_is_called_unread_where_hooks_may_carry_it_anywhere():
    model, metric = order_one_model(), LogitDifference(ANSWER, WRONG, position=3)
    options = {"only": {"pos": [4, 5]}, "intervention": "zero"}
    assert bool(swept(model, metric, "resid_pre", ("layer", "pos"), **options).dead.all())

    def carried(stream, hook):
        stream = stream.clone()
        stream[:, 3] = stream[:, 5]
        return stream

    model.add_hook("blocks.0.hook_resid_post", carried)
    effects = swept(model, metric, "resid_pre", ("layer", "pos"), **options)
    assert not bool(effects.dead.any())
    assert float(effects.change[:, 0, 1].abs().min()) > 1e-3


def test_a_vector_is_added_at_several_places_at_once():
    model, vector = order_one_model(), torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sets = {"two": [("z", {"layer": 0, "head": 1}), ("z", {"layer": 1, "head": 2})]}
    options = {"direction": "noising", "intervention": "add", "vector": vector}
    values = [
        joint(model, CLEAN, CORRUPTED, sets, METRIC, engine=engine, **options) for engine in ("wavefront", "hooks")
    ]
    assert_close(values[0].values, values[1].values, rtol=0, atol=1e-11)


def test_a_place_counted_from_the_end_is_the_same_place():
    model = order_one_model()

    def together(*places):
        return joint(model, CLEAN, CORRUPTED, {"set": list(places)}, METRIC, direction="noising")

    last, first = ("resid_pre", {"layer": 1, "pos": 5}), ("resid_pre", {"layer": 1, "pos": 0})
    from_the_end = ("resid_pre", {"layer": 1, "pos": -1})
    with pytest.raises(AxisError, match=r"names blocks\.1\.hook_resid_pre\[pos=5\] twice"):
        together(last, from_the_end)
    assert_close(together(first, from_the_end).values, together(first, last).values, rtol=0, atol=0)
    counted = swept(model, METRIC, "resid_pre", ("layer", "pos"), only={"pos": [-1, 0]})
    assert counted.coordinates[1] == (5, 0)
    assert_close(counted.values, swept(model, METRIC, "resid_pre", ("layer", "pos"), only={"pos": [5, 0]}).values)


@pytest.mark.usefixtures("as_users_run_it")
def test_what_is_no_list_of_places_is_refused_with_the_form_of_one():
    model, place = order_one_model(), ("z", {"layer": 1, "head": 2})
    for places in (place, ["z"], [("z", 1, 2)]):
        with pytest.raises(AxisError, match=r"is no place: .* \[\('z', \{'layer': 1, 'head': 2\}\)\]"):
            joint(model, CLEAN, CORRUPTED, {"one": places}, METRIC, direction="noising")
    joint(model, CLEAN, CORRUPTED, {"one": [place]}, METRIC, direction="noising")


@pytest.mark.parametrize("engine", ["wavefront", "hooks"])
def test_a_single_prompt_has_a_noise_floor_too(engine):
    model, metric = order_one_model(dtype=torch.float32), LogitDifference(ANSWER[:1], WRONG[:1])
    found = sweep(model, CLEAN[:1], CORRUPTED[:1], "z", OVER, metric, direction="noising", engine=engine)
    assert found.noise_floor is not None
    assert float(found.noise_floor) < 1e-4


def test_a_number_with_a_stride_has_the_digest_of_the_number():
    rows = torch.arange(34).reshape(2, 17)
    assert tensor_digest(rows[:1, 3]) == tensor_digest(torch.tensor([3])) != tensor_digest(torch.tensor([4]))
    assert tensor_digest(rows[:, 3]) == tensor_digest(torch.tensor([3, 20]))
