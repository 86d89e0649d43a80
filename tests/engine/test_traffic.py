"""The scheduler under traffic with everything: forks, drafts, priorities, callers, shared prefixes.

A memory that remembers tokens shows that nobody ever reads what another wrote.
"""

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from tests.engine.wishes import Crowd, Memory, Wish, scheduler_of, step

bits = st.integers(0, 1)


class Everything(Crowd):
    """Requests that begin alike arrive, fork, draft, are aborted and finish; every one must."""

    @initialize(
        blocks=st.tuples(st.integers(2, 12), st.integers(1, 4)),
        most=st.tuples(st.integers(1, 5), st.integers(0, 12)),
        seed=st.integers(0, 999),
        prefix_cache=st.booleans(),
    )
    def begin(
        self,
        blocks: tuple[int, int],
        most: tuple[int, int],
        seed: int,
        prefix_cache: bool,
    ) -> None:
        self.scheduler = scheduler_of(
            blocks=blocks[0],
            block_size=blocks[1],
            requests=most[0],
            tokens=sum(most),
            prefix_cache=prefix_cache,
        )
        self.memory, self.random = Memory(self.scheduler), Random(seed)

    @rule(
        data=st.data(),
        priority=bits,
        caller=st.sampled_from("ab"),
        salt=st.sampled_from((b"x", b"y")),
        may_reuse=st.sampled_from((True, True, False)),
    )
    def arrive(
        self, data: st.DataObject, priority: int, caller: str, salt: bytes, may_reuse: bool
    ) -> None:
        most = self.scheduler.pool.num_tokens
        tokens = data.draw(st.lists(st.sampled_from((0, 0, 0, 1)), min_size=1, max_size=most - 1))
        wanted = data.draw(st.integers(1, most - len(tokens)))
        new = Wish(tokens, wanted, priority=priority, caller=caller, salt=salt, may_reuse=may_reuse)
        self.join(new)

    @precondition(lambda self: self.scheduler.running)
    @rule(data=st.data(), end=st.integers(0, 1))
    def fork(self, data: st.DataObject, end: int) -> None:
        """Of what is computed of a request: all, and perhaps the next token another one."""
        parent = data.draw(st.sampled_from(self.scheduler.running))
        assert isinstance(parent, Wish)
        tokens = [*parent.tokens[: parent.num_computed], *[data.draw(bits)] * end]
        most = self.scheduler.pool.num_tokens
        if not tokens or len(tokens) >= most:
            return
        wanted = data.draw(st.integers(1, most - len(tokens)))
        child = Wish(tokens, wanted, priority=parent.priority, salt=parent.salt)
        self.alive.append(child)
        self.scheduler.fork(parent, child)

    @precondition(lambda self: self.scheduler.running)
    @rule(data=st.data())
    def draft(self, data: st.DataObject) -> None:
        for request in self.scheduler.running:
            assert isinstance(request, Wish)
            if request.num_computed == request.num_tokens - 1 and not request.draft_ids:
                drafts = st.lists(bits, max_size=request.wanted - 1)
                request.draft_ids = data.draw(drafts)

    @precondition(lambda self: self.alive)
    @rule(count=st.integers(1, 4))
    def steps(self, count: int) -> None:
        for _ in range(count):
            self.move(self.memory, self.random)

    @rule()
    def forget(self) -> None:
        self.scheduler.pool.forget()
        assert self.scheduler.pool.num_cached == 0

    def teardown(self) -> None:
        # A preempted request computes its tokens again, at most once for each token of another.
        bound = sum(one.num_tokens + one.wanted for one in self.alive) ** 2
        for _ in range(bound):
            if not self.scheduler.num_requests:
                break
            step(self.scheduler, self.memory, self.random)
        assert not self.scheduler.num_requests, "a request starves"
        assert self.scheduler.pool.num_free == self.scheduler.pool.num_blocks


Everything.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestEverything = Everything.TestCase
