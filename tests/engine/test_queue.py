"""Whose turn it is."""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.engine.queue import FairQueue


@dataclass(eq=False)
class Asked:
    caller: str = ""
    priority: int = 0
    num_tokens: int = 10


def queue_of(requests: Iterable[Asked]) -> FairQueue[Asked]:
    queue: FairQueue[Asked] = FairQueue()
    for request in requests:
        queue.add(request)
    return queue


def drained(queue: FairQueue[Asked]) -> list[Asked]:
    taken = []
    while len(queue):
        first = queue.first()
        taken.append(queue.pop())
        assert taken[-1] is first
    return taken


def callers(requests: Iterable[Asked]) -> str:
    return "".join(request.caller for request in requests)


def test_an_empty_queue_has_no_first() -> None:
    queue: FairQueue[Asked] = FairQueue()
    assert queue.first() is None
    assert len(queue) == 0
    with pytest.raises(AssertionError, match="nobody waits"):
        queue.pop()


def test_one_callers_requests_come_in_their_order() -> None:
    requests = [Asked() for _ in range(5)]
    assert drained(queue_of(requests)) == requests


def test_lower_priorities_come_first_whoever_asks() -> None:
    requests = [Asked(caller, priority) for priority in (2, 0, -1) for caller in "aba"]
    taken = [request.priority for request in drained(queue_of(requests))]
    assert taken == [-1] * 3 + [0] * 3 + [2] * 3


def test_a_flood_delays_anothers_request_by_at_most_one_turn() -> None:
    for head_start in range(6):
        queue = queue_of([Asked("a") for _ in range(20)])
        for _ in range(head_start):
            queue.pop()
        queue.add(Asked("b"))
        assert "b" in callers([queue.pop(), queue.pop()])


def test_callers_get_tokens_alike_not_requests() -> None:
    queue = queue_of([Asked("a", num_tokens=30) for _ in range(9)])
    for _ in range(27):
        queue.add(Asked("b", num_tokens=10))
    taken = drained(queue)
    for end in range(4, 36, 4):  # one of 30 against three of 10
        assert callers(taken[:end]).count("a") == end // 4


def test_who_was_away_does_not_save_up_turns() -> None:
    queue = queue_of([Asked("b"), *(Asked("a") for _ in range(40))])
    for _ in range(21):
        queue.pop()  # `b`, and twenty of `a`, in which `b` asks for nothing
    for _ in range(10):
        queue.add(Asked("b"))
    turns = callers(queue.pop() for _ in range(10))
    assert turns.count("a") == 5, turns


def test_a_newcomer_is_not_set_back_by_who_waits_at_another_priority() -> None:
    """Nor does it begin with the turns that a less important caller never had."""
    queue = queue_of([Asked("patient", priority=5), *(Asked("a") for _ in range(40))])
    for _ in range(20):
        queue.pop()
    for _ in range(20):
        queue.add(Asked("b"))
    turns = callers(queue.pop() for _ in range(10))
    assert turns.count("a") == 5, turns


def test_an_idle_queue_forgets_who_was_served() -> None:
    queue = queue_of([Asked("a", num_tokens=1000)])
    queue.pop()
    for caller in "aabb":
        queue.add(Asked(caller))
    assert callers(drained(queue)) == "abab"


def test_whoever_is_put_back_goes_before_all_of_its_priority() -> None:
    queue = queue_of([Asked("a"), Asked("b"), Asked("c", priority=-1)])
    urgent, first = queue.pop(), queue.pop()
    second = queue.pop()
    queue.add(Asked("d"))
    queue.put_back(second)
    queue.put_back(first)
    assert drained(queue)[:2] == [first, second]
    assert urgent.caller == "c"


def test_put_back_does_not_overtake_the_more_important() -> None:
    queue = queue_of([Asked("a", priority=1)])
    back = queue.pop()
    queue.add(Asked("b", priority=0))
    queue.put_back(back)
    assert callers(drained(queue)) == "ba"


def test_a_discarded_request_is_gone_and_nobody_else() -> None:
    requests = [Asked(caller) for caller in "aabba"]
    queue = queue_of(requests)
    back = Asked("c")
    queue.put_back(back)
    queue.discard(requests[1])
    queue.discard(requests[1])
    queue.discard(back)
    assert sorted(map(id, queue)) == sorted(id(r) for r in requests if r is not requests[1])
    assert len(drained(queue)) == 4


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_nobody_is_lost_and_the_backlogged_are_served_alike(data: st.DataObject) -> None:
    """Callers that have waited without a gap differ by at most their largest requests."""
    queue: FairQueue[Asked] = FairQueue()
    waiting: list[Asked] = []
    served = dict.fromkeys("abc", 0)
    for caller in "abc":
        for _ in range(30):
            waiting.append(Asked(caller, num_tokens=data.draw(st.integers(1, 9))))
            queue.add(waiting[-1])
    for act in data.draw(st.lists(st.sampled_from("padr"), max_size=25)):
        if act == "a":
            waiting.append(Asked(data.draw(st.sampled_from("abcd")), data.draw(st.integers(0, 1))))
            queue.add(waiting[-1])
        elif act == "d":
            gone = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
            queue.discard(gone)
        else:
            taken = queue.pop()
            waiting.remove(taken)
            served[taken.caller] = served.get(taken.caller, 0) + taken.num_tokens
        assert sorted(map(id, queue)) == sorted(map(id, waiting))
        backlogged = [served[caller] for caller in "abc"]
        assert max(backlogged) - min(backlogged) <= 10
