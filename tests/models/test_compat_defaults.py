"""Defaults changed for a block are back behind it: the same object, whatever happened inside."""

from dataclasses import FrozenInstanceError
from types import SimpleNamespace

import pytest

from models.compat import HookedTransformer, utils
from models.errors import InputError
from tests.conftest import small_config
from tests.models.compat_models import story_tokenizer


@pytest.fixture
def model():
    return HookedTransformer(small_config(), story_tokenizer(), default_padding_side="right")


def test_defaults_hold_within_the_block_and_are_back_behind_it(model):
    before = model.cfg
    with utils.LocallyOverridenDefaults(model, prepend_bos=False, padding_side="left"):
        assert model.to_str_tokens("mary went") == ["mary", "went"]
        assert model.to_tokens(["mary went", "mary"]).tolist() == [[4, 9], [2, 4]]
        with utils.LocallyOverridenDefaults(model, prepend_bos=True):
            assert model.to_str_tokens("mary went") == ["<s>", "mary", "went"]
        assert model.to_str_tokens("mary went") == ["mary", "went"]
    assert model.cfg is before
    assert model.tokenizer.padding_side == "right"
    assert model.to_tokens(["mary went", "mary"]).tolist() == [[0, 4, 9], [0, 4, 2]]
    with pytest.raises(FrozenInstanceError):
        model.cfg.default_prepend_bos = False


def test_an_error_restores_them_too(model):
    before = model.cfg
    with pytest.raises(KeyError), utils.LocallyOverridenDefaults(model, prepend_bos=False, padding_side="left"):
        raise KeyError
    assert model.cfg is before
    assert model.tokenizer.padding_side == "right"
    for wrong in ({"padding_side": "middle"}, {"prepend_eos": True}, {"prepend_bos": "yes"}):
        with pytest.raises(InputError, match=next(iter(wrong))), utils.LocallyOverridenDefaults(model, **wrong):
            pass
        assert model.cfg is before


def test_what_else_changes_within_the_block_stays(model):
    with utils.LocallyOverridenDefaults(model, prepend_bos=False):
        model.set_use_attn_result(True)
        assert not model.cfg.default_prepend_bos
    assert model.cfg.default_prepend_bos
    assert model.cfg.use_attn_result


def test_none_and_a_missing_tokenizer_leave_things_as_they_are(model):
    bare = HookedTransformer(small_config())
    for each, override in ((model, {"prepend_bos": None, "padding_side": None}), (bare, {"padding_side": "left"})):
        before = each.cfg
        with utils.LocallyOverridenDefaults(each, **override):
            assert each.cfg is before
    assert model.tokenizer.padding_side == "right"


def test_the_config_of_a_bridge_is_changed_where_it_stands():
    bridge = SimpleNamespace(cfg=SimpleNamespace(default_prepend_bos=True), tokenizer=None)
    config = bridge.cfg
    with utils.LocallyOverridenDefaults(bridge, prepend_bos=False):
        assert bridge.cfg is config
        assert not config.default_prepend_bos
    assert config.default_prepend_bos
