"""Mechanistic interpretability on hooks: read and edit a model's activations, and trust the numbers.

The library works on any model of `interp.protocol.HookedModel`. Weights act on the right, `x @ W`. The names of axes,
in annotations, in sites and in results:

* `batch`: prompts; `pos`: positions of a prompt; `query`, `key`: the two positions of an attention score;
* `head`: attention heads; `kv_head`: heads that have keys and values of their own (fewer in grouped-query attention);
* `d_model`: the residual stream; `d_head`: within a head; `d_mlp`: neurons; `d_vocab`: tokens;
* `layer`: blocks, from 0; `component`: what writes into the stream (embeddings, heads, MLPs, biases).
"""

from .effects import Effects as Effects
from .errors import AlignmentError as AlignmentError
from .errors import AxisError as AxisError
from .errors import CompiledModelError as CompiledModelError
from .errors import DegenerateBaselineError as DegenerateBaselineError
from .errors import DiscardedEditError as DiscardedEditError
from .errors import EffectsFileError as EffectsFileError
from .errors import EmptyMatchError as EmptyMatchError
from .errors import EngineError as EngineError
from .errors import HookNeverFiredError as HookNeverFiredError
from .errors import HookReturnError as HookReturnError
from .errors import JournalError as JournalError
from .errors import MemoryBudgetError as MemoryBudgetError
from .errors import MetricError as MetricError
from .errors import NonFiniteError as NonFiniteError
from .errors import NotASumError as NotASumError
from .errors import OutOfRangeError as OutOfRangeError
from .errors import PointOffError as PointOffError
from .errors import ShapeError as ShapeError
from .errors import TaskFileError as TaskFileError
from .errors import TokensError as TokensError
from .errors import UnchangedError as UnchangedError
from .errors import UnknownPointError as UnknownPointError
from .errors import UnknownTaskError as UnknownTaskError
from .errors import VerificationError as VerificationError
from .hooks import edited as edited
from .interventions import add as add
from .interventions import freeze as freeze
from .interventions import intervene as intervene
from .interventions import mean as mean
from .interventions import patch as patch
from .interventions import resample as resample
from .interventions import zero as zero
from .lenses import logit_lens as logit_lens
from .metrics import Accuracy as Accuracy
from .metrics import Divergence as Divergence
from .metrics import Function as Function
from .metrics import LogitDifference as LogitDifference
from .metrics import LogProbability as LogProbability
from .metrics import Loss as Loss
from .metrics import Metric as Metric
from .metrics import Probability as Probability
from .metrics import Rank as Rank
from .protocol import HookedModel as HookedModel
from .sites import Cell as Cell
from .sites import Site as Site
from .sites import site as site
from .sites import sites as sites
from .statistics import over_prompts as over_prompts
from .sweep import joint as joint
from .sweep import prepare_joint as prepare_joint
from .sweep import prepare_sweep as prepare_sweep
from .sweep import sweep as sweep
from .tasks import Pair as Pair
from .tasks import PromptPairs as PromptPairs
from .tasks import Task as Task
from .tasks import built_in as built_in
from .tasks import read_task as read_task
from .weights import composition_scores as composition_scores
from .weights import copying_scores as copying_scores
