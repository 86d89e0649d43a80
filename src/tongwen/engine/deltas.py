"""What of a request its caller has not heard yet."""

from tongwen.engine.completion import Delta
from tongwen.engine.request import Request


class Listener:
    """Follows one request and tells what is new, token by token.

    Args:
        request: The request; somebody else steps the engine.
        index: Its place among the completions of its prompt.
    """

    def __init__(self, request: Request, index: int = 0) -> None:
        self.request, self.index = request, index
        self._told = self._sent = 0
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether the last piece has been told."""
        return self._is_over

    def news(self) -> list[Delta]:
        """Pieces since the last call; text comes with the newest token.

        Raises:
            TongwenError: The request failed.
        """
        request = self.request
        if self._is_over:
            return []
        if request.error is not None:
            self._is_over = True
            raise request.error
        self._is_over = request.is_finished
        first, self._told = self._told, len(request.token_ids)
        places: list[int | None] = list(range(first, self._told))
        if self._is_over and not places:
            places = [None]
        return [self._piece(place, is_newest=place == places[-1]) for place in places]

    def _piece(self, place: int | None, *, is_newest: bool) -> Delta:
        request, text = self.request, ""
        if is_newest:
            text, self._sent = request.text[self._sent :], len(request.text)
        tops = request.top_logprobs
        return Delta(
            text=text,
            token_id=None if place is None else request.token_ids[place],
            completion=request.completion() if self._is_over and is_newest else None,
            index=self.index,
            logprob=None if place is None else request.logprobs[place],
            top_logprobs=None if place is None or not tops else tops[place],
        )
