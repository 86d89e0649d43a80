"""A small model that guesses what a large one will say (Leviathan et al., 2023, arXiv 2211.17192).

It samples with the request's own parameters and noise, so that at any temperature it tends to
draw the token that the large model draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from tongwen.engine.batch import Batch
from tongwen.engine.blocks import BlockPool
from tongwen.engine.engine import Engine
from tongwen.engine.request import Request
from tongwen.engine.runner import Runner, runner_for
from tongwen.engine.sampler import Choice, choose
from tongwen.engine.scheduler import Chunk
from tongwen.model.qwen2 import Qwen2ForCausalLM

EXTRA_ROW = 0.06
"""What verifying one more token adds to a step, as a share of it."""

WORTH = 1.05
"""Expected gain below which nothing is drafted."""


@dataclass
class Odds:
    """How often one request's drafts are right, and how many of them pay.

    Args:
        cost: Of drafting a token, as a share of a step of the large model.
    """

    cost: float
    rate: float = 0.8
    """Moving average of the share of drafts that were right; hopeful at first."""

    resting: int = 0
    pause: int = 8

    def length(self, most: int) -> int:
        """Tokens to draft now: as many as raise the expected speed most, or none."""
        if self.resting:
            self.resting -= 1
            return 0
        gains = [self._gain(length) for length in range(1, most + 1)]
        best = max(gains, default=0.0)
        if best >= WORTH:
            return gains.index(best) + 1
        # Now and then one guess finds out whether the text has become easier.
        self.resting, self.pause = self.pause, min(2 * self.pause, 256)
        return min(1, most)

    def _gain(self, length: int) -> float:
        """Tokens a step over its cost: (1 - p^(k+1)) / (1 - p) of them (paper, equation 1)."""
        tokens = sum(self.rate**place for place in range(length + 1))
        return tokens / (1 + length * (self.cost + EXTRA_ROW))

    def learn(self, num_drafts: int, num_right: int) -> None:
        """Take note of drafts that were verified."""
        looked_at = min(num_right + 1, num_drafts)
        for place in range(looked_at):
            self.rate += 0.1 * ((place < num_right) - self.rate)
        if self._gain(1) >= WORTH:
            self.pause = 8


@dataclass(eq=False)
class _Shadow:
    """A request as the small model sees it: the same tokens, blocks of its own."""

    request: Request
    odds: Odds


class DraftModel:
    """Drafts with a model of its own, its cache beside the large one's.

    Args:
        runner: Runs the small model.
        pool: The blocks of its cache; they must hold what the large model's hold.
        batch: Describes its steps.
        num_ids: Ids that the tokenizer has; the models may pad their vocabularies differently.
        cost: Of a step of the small model, as a share of a step of the large one.
        most: Longest draft.
        max_requests: It is for few: where many decode, their rows fill the processor already.
    """

    def __init__(
        self,
        runner: Runner,
        pool: BlockPool,
        batch: Batch,
        *,
        num_ids: int,
        cost: float,
        most: int = 6,
        max_requests: int = 2,
    ) -> None:
        self.runner, self.pool, self.batch = runner, pool, batch
        self.num_ids, self.cost, self.most, self.max_requests = num_ids, cost, most, max_requests
        self._shadows: dict[int, _Shadow] = {}

    def propose(self, requests: Sequence[Request]) -> None:
        """Set the drafts of requests for which they may pay."""
        self._forget_all_but({request.request_id for request in requests})
        if len(requests) > self.max_requests:
            return
        for request in [each for each in requests if not each.draft_ids]:
            shadow = self._shadow(request)
            room = request.max_tokens - len(request.token_ids) - 1
            length = shadow.odds.length(min(self.most, room))
            if length > 0:
                request.draft_ids = self._draft(request, shadow.request, length)

    def learn(self, request: Request, num_drafts: int, num_right: int) -> None:
        """Take note of how a draft fared."""
        shadow = self._shadows.get(request.request_id)
        if shadow is not None:
            shadow.odds.learn(num_drafts, num_right)

    def _draft(self, request: Request, shadow: Request, length: int) -> list[int]:
        """Catch up with the request, then go ahead of it."""
        shadow.num_computed = min(shadow.num_computed, _agreement(request, shadow))
        shadow.token_ids = list(request.token_ids)
        whole = self.pool.blocks_for(request.num_tokens + length) - len(shadow.block_table)
        if whole > self.pool.num_free:
            return []  # what the large model shares between requests, this one has twice
        logits = self._compute(shadow)
        for _ in range(length):
            position = shadow.num_tokens
            choice = Choice(request.chooser, position, request.chooser.allowed)
            (sample,) = choose(logits, [choice], self.num_ids)
            if sample.token_id < 0:
                break
            shadow.token_ids.append(sample.token_id)
            if len(shadow.token_ids) - len(request.token_ids) < length:
                logits = self._compute(shadow)
        return shadow.token_ids[len(request.token_ids) :]

    def _compute(self, shadow: Request) -> Tensor:
        """Logits after the last token; everything before is computed too."""
        missing = self.pool.blocks_for(shadow.num_tokens) - len(shadow.block_table)
        shadow.block_table += self.pool.allocate(max(missing, 0))
        while True:
            left = shadow.num_tokens - shadow.num_computed
            chunk = Chunk(shadow, min(left, len(self.batch.token_ids)))
            self.batch.fill([chunk])
            logits = self.runner.run(self.batch).logits
            shadow.num_computed += chunk.num_tokens
            if shadow.num_computed == shadow.num_tokens:
                return logits

    def _shadow(self, request: Request) -> _Shadow:
        shadow = self._shadows.get(request.request_id)
        if shadow is None:
            twin = replace(
                request, block_table=[], num_computed=0, draft_ids=[], followers=[], token_ids=[]
            )
            shadow = self._shadows[request.request_id] = _Shadow(twin, Odds(self.cost))
        return shadow

    def _forget_all_but(self, present: set[int]) -> None:
        for key in set(self._shadows) - present:
            self.pool.release(self._shadows.pop(key).request.block_table)


def draft_model(model: Qwen2ForCausalLM, engine: Engine, *, cost: float) -> DraftModel:
    """A small model that drafts for an engine, with as large a cache as the engine's.

    Args:
        model: Ready to run; its token ids are those of the engine's model.
        engine: Whose requests it drafts for.
        cost: Of a step of the small model, as a share of a step of the large one.
    """
    config, pool = engine.config, engine.scheduler.pool
    runner = runner_for(
        model,
        num_blocks=pool.num_blocks,
        block_size=pool.block_size,
        context=config.context,
    )
    batch = Batch(
        max_tokens=config.scheduler.max_batch_tokens,
        max_requests=1,
        max_blocks=pool.blocks_for(config.context),
        block_size=pool.block_size,
        device=model.model.norm.weight.device,
    )
    own = BlockPool(pool.num_blocks, pool.block_size)
    return DraftModel(runner, own, batch, num_ids=len(engine.tokenizer), cost=cost)


def _agreement(request: Request, shadow: Request) -> int:
    """Tokens that can stay computed: those that both have, but not the last: its row is wanted."""
    same = 0
    for mine, theirs in zip(request.token_ids, shadow.token_ids, strict=False):
        if mine != theirs:
            break
        same += 1
    return min(len(request.prompt_ids) + same, request.num_tokens - 1)
