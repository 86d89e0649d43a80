"""`POST /api/generate`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request, Response

from tongwen.engine.completion import Completion
from tongwen.engine.params import SamplingParams
from tongwen.server.errors import invalid, unsupported
from tongwen.server.ollama.durations import now
from tongwen.server.ollama.names import check_text
from tongwen.server.ollama.wire import SamplingRequest, answer, fitting, preload
from tongwen.server.served import Ask, Served
from tongwen.server.sse import to_json
from tongwen.server.wire import JsonRoute
from tongwen.tokenizer.fim import fim_prompt, fim_stop_ids

router = APIRouter(route_class=JsonRoute, tags=["Ollama"])


class GenerateRequest(SamplingRequest):
    """A prompt to be answered, continued, or filled in."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[Any] | None = None

    @property
    def length(self) -> int:
        """About how many characters it has."""
        texts = (self.prompt, self.suffix, self.system)
        return sum(len(text or "") for text in texts) + 4 * len(self.context or ())

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            ApiError: With the names.
        """
        check_text("template", self.template)
        if self.images:
            raise unsupported("images", "this is a model of text")
        others: dict[str, object] = {"system": self.system, "context": self.context}
        if self.suffix:
            others["raw"] = self.raw or None
        if (self.raw or self.suffix) and (found := [name for name in others if others[name]]):
            mode = "suffix" if self.suffix else "raw"
            raise invalid(found[0], f"`{mode}` does not go with `{found[0]}`")

    def ask(self, served: Served) -> Ask:
        """What is asked of the model.

        Raises:
            TongwenError: It cannot be served.
            ApiError: Parameters contradict each other.
        """
        options = self.options_for(served)
        params = self.params(options)
        if self.suffix:
            return served.within(self._middle(served, params), options.num_ctx)
        prompt_ids = self._prompt(served, self.context or [])
        if self.truncate and self.context:
            most = min(options.num_ctx or served.llm.context, served.llm.context) - 1
            prompt_ids = self._prompt(served, self._kept(served, self.context, most))
        ask = Ask(prompt_ids=prompt_ids, params=params, has_defaults=True)
        return served.within(ask, options.num_ctx)

    def _middle(self, served: Served, params: SamplingParams) -> Ask:
        tokenizer = served.llm.tokenizer
        stops = (*params.stop_token_ids, *fim_stop_ids(tokenizer))
        return Ask(
            prompt_ids=fim_prompt(tokenizer, self.prompt or "", self.suffix or ""),
            params=replace(params, stop_token_ids=stops),
            has_defaults=True,
        )

    def _prompt(self, served: Served, context: Sequence[int]) -> list[int]:
        """Token ids of the prompt after those of earlier turns."""
        prompt = self.prompt or ""
        if self.raw:
            return served.llm.tokenizer.encode(prompt, allow_control=True)
        if not served.llm.is_chat:
            if self.system:
                raise invalid("system", f"`{served.name}` takes no turns: it has no system text")
            return [*context, *served.llm.tokenizer.encode(prompt)]
        told = [{"role": "system", "content": self.system}] if self.system else []
        turn: list[Mapping[str, Any]] = [*told, {"role": "user", "content": prompt}]
        render = served.llm.chat_format.render
        if not context:
            return render(served.conversation(turn)).token_ids
        # Earlier turns stand as they were sampled: as an answer of which only the ids are taken.
        head: Mapping[str, Any] = {"role": "system", "content": ""}
        before = {"role": "assistant", "content": None, "token_ids": list(context)}
        return render([head, before, *turn]).token_ids[len(render([head]).token_ids) :]

    def _kept(self, served: Served, context: Sequence[int], most: int) -> list[int]:
        """Earlier turns without the oldest that do not fit; what stands before the first stays."""
        opening = served.llm.tokenizer.encode("<|im_start|>user\n", allow_control=True)
        size = len(opening)
        cuts = [p for p in range(len(context)) if list(context[p : p + size]) == opening]
        head = list(context[: cuts[0]]) if cuts else []

        def fits(cut: int) -> bool:
            return len(self._prompt(served, [*head, *context[cut:]])) <= most

        return [*head, *context[fitting(fits, [*cuts, len(context)]) :]]


@dataclass(frozen=True, slots=True)
class _Texts:
    """Answers as `/api/generate` writes them."""

    is_raw: bool

    def said(self, text: str, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """A piece of an answer."""
        return {"response": text}

    def end(self, done: Completion) -> dict[str, Any]:
        """The ids of the turns so far, to be sent with the next prompt."""
        return {} if self.is_raw else {"context": [*done.prompt_token_ids, *done.token_ids]}


@router.post("/api/generate")
async def generate(request: Request, body: GenerateRequest) -> Response:
    """Answer a prompt; without one, bring the model into memory or let it go."""
    body.check()
    if not body.prompt and not body.suffix:
        reason = await preload(request, body.model, body.keep_alive)
        record = {"model": body.model, "created_at": now(), "response": "", "done": True}
        return Response(to_json({**record, "done_reason": reason}), media_type="application/json")
    return await answer(request, body, body, _Texts(bool(body.raw or body.suffix)))
