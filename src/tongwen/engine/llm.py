"""`LLM`: a model by name, asked in plain Python."""

import itertools
import os
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from tongwen.checkpoint.kept import Kept
from tongwen.checkpoint.load import (
    Weights,
    load_model,
    open_checkpoint,
    pick_device,
    plan_weights,
)
from tongwen.checkpoint.model_names import parse_name
from tongwen.checkpoint.store import Store, default_home
from tongwen.engine.admission import Admission
from tongwen.engine.completion import Completion, Delta, Pooling, ranked
from tongwen.engine.constraint import ToolCalls, ToolChoice
from tongwen.engine.deltas import Listener
from tongwen.engine.draft import DraftModel, draft_model
from tongwen.engine.engine import Engine, EngineConfig
from tongwen.engine.memory import check_weights, fit_context, free_bytes
from tongwen.engine.params import SamplingParams
from tongwen.engine.request import Request
from tongwen.engine.scheduler import SchedulerConfig
from tongwen.engine.speculate import PromptLookup
from tongwen.errors import ConfigError, RequestError
from tongwen.tokenizer.chat import ChatFormat
from tongwen.tokenizer.messages import ToolCall
from tongwen.tokenizer.template import chat_format
from tongwen.tokenizer.tool_stream import parse_tool_calls

Message = Mapping[str, Any]


class LLM:
    """A model, ready to be asked.

    Args:
        model: A name of the store, a hub id, a directory, or a `.gguf` file.  A name that is not
            on this machine is fetched.
        weights: `auto`, `file`, `float32`, `bf16`, `int8` or `int4`; see `plan_weights`.
        device: `auto`, `cpu`, `cuda` ...
        speculate: Guess tokens that came before in the same text and verify several at once: faster
            where a text is edited or quoted, and the same tokens.
        draft: A smaller model of the same family that guesses for this one: the same tokens, sooner
            where its guesses are right.  It lends its weights and is not asked itself meanwhile.
        prefix_cache: Keep what was computed of a prompt for others that begin alike.
        context: Most tokens of a prompt and its completion; `None`: what the model was trained
            for, at most 32,768, less where memory is short.

    Raises:
        ModelNotFoundError: No such model is known or reachable.
        CheckpointError: Its files are damaged or not a Qwen2 model.
        CapacityError: It does not fit into memory.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        weights: Weights = "auto",
        device: str = "auto",
        context: int | None = None,
        speculate: bool = True,
        draft: "LLM | None" = None,
        prefix_cache: bool = True,
        home: Path | None = None,
    ) -> None:
        started = time.perf_counter()
        store = Store(home or default_home(os.environ))
        source = open_checkpoint(locate(model, store))
        self.name, self.source, self.config = str(model), source, source.config
        self.device = pick_device(device)
        self.plan = plan_weights(source, weights, self.device)
        free = free_bytes(self.device)
        check_weights(self.name, self.plan.weights_bytes, free)
        self.context = fit_context(
            self.config,
            context,
            weights_bytes=self.plan.weights_bytes,
            bytes_per_value=self.plan.cached_value_bytes,
            free=free,
        )
        self.tokenizer = source.tokenizer(store.home / "tokenizers")
        self.generation = source.generation
        self.model = load_model(source, self.plan, self.device, Kept(store.home))
        self.engine = self._engine(prefix_cache)
        if speculate and self.engine.is_native:  # elsewhere rows of other numbers are other bits
            self.engine.proposers = (PromptLookup(), *self._drafts(draft))
        self.load_s = time.perf_counter() - started

    @cached_property
    def chat_format(self) -> ChatFormat:
        """How conversations are written for this model.

        Raises:
            TokenizerError: The checkpoint has no chat template and is of no known chat family.
        """
        family = self.name.partition(":")[0]
        return chat_format(self.tokenizer, self.source.chat_template, family)

    @property
    def numerics(self) -> str:
        """What decides the bits of an answer besides model and prompt."""
        return self.plan.numerics

    @property
    def weights_bytes(self) -> int:
        """Memory that its weights take."""
        return self.plan.weights_bytes

    @property
    def is_on_cpu(self) -> bool:
        """Whether it runs there, and not on an accelerator."""
        return self.plan.on_cpu

    @property
    def is_chat(self) -> bool:
        """Whether the model was trained to take turns.

        Base models carry a chat template too; what tells them apart is that nothing ends a turn.
        """
        if self.source.chat_template is None:
            return False
        ends = {*self.generation.eos_token_ids, self.tokenizer.ends.eos_token_id}
        return self.chat_format.stop_ids[0] in ends

    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str = "auto",
        parallel_tool_calls: bool = True,
    ) -> Completion:
        """Answer a conversation.

        Args:
            messages: `{"role": ..., "content": ...}`, as OpenAI's API has them.  Where the last
                one is the assistant's, it is continued.
            params: How to sample; `None`: as the checkpoint recommends.
            tools: Functions that the model may call, as OpenAI's API has them; `tool_calls` reads
                the calls from the answer.
            tool_choice: `auto`, `required`, `none`, or the name of the one that must be called.
            parallel_tool_calls: Whether an answer may hold more than one call.

        Raises:
            TokenizerError: The conversation is malformed, or the model has no chat format.
            RequestError: It does not fit the context.
        """
        params = params or SamplingParams()
        if tools:
            params = self.calling(params, tools, tool_choice, parallel_tool_calls)
        return self.generate([self.render(messages, tools=tools)], params)[0]

    def tool_calls(
        self, text: str, tools: Sequence[Mapping[str, Any]]
    ) -> tuple[str, list[ToolCall]]:
        """What an answer says, and the calls that it makes."""
        form = self.chat_format.tool_form
        names = [tool["function"]["name"] for tool in tools]
        return (text, []) if form is None else parse_tool_calls(text, form, names)

    def calling(
        self,
        params: SamplingParams,
        tools: Sequence[Mapping[str, Any]],
        choice: str,
        parallel: bool,
    ) -> SamplingParams:
        """Parameters that hold calls of `tools` to their schemas.

        Args:
            params: The others.
            tools: As OpenAI's.
            choice: `auto`, `required`, `none`, or the name of the one that must be called.
            parallel: Whether an answer may hold more than one call.

        Raises:
            RequestError: The model has no form for calls, or `params` has a constraint.
        """
        form = self.chat_format.tool_form
        if form is None:
            raise RequestError(f"`{self.name}` has no form for tool calls")
        if params.constraint is not None:
            raise RequestError("`constraint` and `tools` exclude each other", hint="give one")
        named = None if choice in get_args(ToolChoice) else choice
        calls = ToolCalls(
            tools=tools,
            form=form,
            choice="required" if named is not None else cast(ToolChoice, choice),
            name=named,
            parallel=parallel and named is None,
        )
        return replace(params, constraint=calls)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[int]:
        """Token ids of a conversation, up to where the assistant speaks next."""
        going_on = bool(messages) and messages[-1].get("role") == "assistant"
        rendered = self.chat_format.render(
            messages,
            tools=tools,
            add_generation_prompt=not going_on,
            continue_final_message=going_on,
        )
        return rendered.token_ids

    def generate(
        self,
        prompts: Sequence[str | Sequence[int]],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
    ) -> list[Completion]:
        """Continue prompts, all at once; completions come in the order of the prompts.

        Args:
            prompts: Texts or lists of token ids.  In a text, control tokens such as
                `<|fim_prefix|>` count as such; a conversation belongs into `chat`.
            params: How to sample, one for all or one for each.

        Raises:
            RequestError: A prompt is empty or does not fit; none is begun then.
            CheckpointError: The weights gave no finite logits for one of them.
        """
        each = self._params_for(prompts, params)
        ids = [self._ids(prompt) for prompt in prompts]
        return [
            best_completions(requests)
            for requests in self._run(
                (prompt, wanted, None) for prompt, wanted in zip(ids, each, strict=True)
            )
        ]

    def _run(
        self, asked: Iterable[tuple[Sequence[int], SamplingParams, Admission | None]]
    ) -> list[list[Request]]:
        """Serve prompts together; per prompt its finished requests, the leader first."""
        groups: list[list[Request]] = []
        try:
            for prompt_ids, params, admission in asked:
                request = self.engine.add(prompt_ids, params, admission)
                groups.append([request, *request.followers])
            while not all(request.is_finished for group in groups for request in group):
                self.engine.step()
        finally:
            for request in itertools.chain(*groups):
                self.engine.abort(request)
        return groups

    def stream(
        self, prompt: str | Sequence[int], params: SamplingParams | None = None
    ) -> Generator[Delta, None, None]:
        """Continue one prompt piece by piece; closing the iterator ends the completion.

        Raises:
            RequestError: The prompt is empty or does not fit.
            CheckpointError: The logits are not finite.
        """
        params = params or SamplingParams()
        if params.num_samples > 1:
            raise RequestError(f"`n` is {params.num_samples}, but one completion can be streamed")
        request = self.engine.add(self._ids(prompt), params)
        listener = Listener(request)
        try:
            while not listener.is_over:
                # Whoever else steps this engine moves this request on too.
                news = listener.news()
                if not news:
                    self.engine.step()
                yield from news
        finally:
            self.engine.abort(request)

    def score(self, prompts: Sequence[str | Sequence[int]]) -> list[list[float | None]]:
        """Natural-log probability of each token given those before it; of the first: `None`.

        Raises:
            RequestError: A prompt is empty or longer than the context.
        """
        params = SamplingParams(max_tokens=0, prompt_logprobs=0)
        ids = [self._ids(prompt) for prompt in prompts]
        groups = self._run((prompt, params, None) for prompt in ids)
        return [group[0].completion().prompt_logprobs or [] for group in groups]

    def embed(
        self, prompts: Sequence[str | Sequence[int]], pooling: Pooling = "mean"
    ) -> list[Float[Tensor, " dim"]]:
        """One vector of length 1 for each prompt: the mean of its hidden states, or the last one.

        Raises:
            RequestError: A prompt is empty or longer than the context.
        """
        admission = Admission(pooling=pooling)
        ids = [self._ids(prompt) for prompt in prompts]
        groups = self._run((prompt, SamplingParams(max_tokens=0), admission) for prompt in ids)
        vectors = [group[0].completion().vector for group in groups]
        return [torch.from_numpy(vector) for vector in vectors if vector is not None]

    def _ids(self, prompt: str | Sequence[int]) -> list[int]:
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt, allow_control=True)
        return list(prompt)

    def _params_for(
        self,
        prompts: Sequence[str | Sequence[int]],
        params: SamplingParams | Sequence[SamplingParams] | None,
    ) -> Sequence[SamplingParams]:
        if isinstance(prompts, str):
            raise RequestError("`prompts` is one text", hint="give a list of texts: [prompt]")
        if params is None or isinstance(params, SamplingParams):
            return [params or SamplingParams()] * len(prompts)
        if len(params) != len(prompts):
            raise RequestError(f"{len(prompts)} prompts but {len(params)} sets of parameters")
        return params

    def _drafts(self, draft: "LLM | None") -> list[DraftModel]:
        """The small model behind a cache of its own, as large as this one's.

        Raises:
            ConfigError: Its tokens are not this model's.
        """
        if draft is None:
            return []
        if draft.tokenizer.digest != self.tokenizer.digest:
            raise ConfigError(
                f"`{draft.name}` cannot draft for `{self.name}`: their vocabularies differ"
            )
        cost = draft.plan.weights_bytes / self.plan.weights_bytes
        return [draft_model(draft.model, self.engine, cost=cost)]

    def _engine(self, prefix_cache: bool) -> Engine:
        turns = self.chat_format.stop_ids if self.is_chat else ()
        return Engine(
            self.model,
            self.tokenizer,
            defaults=self.generation,
            eos_token_ids=frozenset({*self.generation.eos_token_ids, *turns}),
            config=EngineConfig(
                context=self.context,
                cache_tokens=self.context,
                scheduler=SchedulerConfig(prefix_cache=prefix_cache),
            ),
            identity=f"{self.source.path} {self.plan.numerics}",
        )


def best_completions(requests: Sequence[Request]) -> Completion:
    """The completion of a prompt; where there are several, the best, and the others with it.

    Of more than were asked for (`best_of`) those with the highest mean log-probability are kept.
    """
    done = [request.completion() for request in requests]
    if len(done) == 1:
        return done[0]
    first, *others = ranked(done)[: requests[0].num_wanted]
    return replace(first, alternatives=others)


def locate(model: str | Path, store: Store) -> Path:
    """Where a model lies: a path as it is, a name from the store, fetched where it is absent.

    Raises:
        ModelNotFoundError: The name is unknown, or no source delivers it.
    """
    name = parse_name(str(model))
    if name.path is not None:
        return name.path
    found = store.find(name) or store.pull(name)
    store.mark_used(found.name)
    return found.path
