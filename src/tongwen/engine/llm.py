"""`LLM`: a model by name, asked in plain Python."""

import os
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

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
from tongwen.engine.engine import Engine, EngineConfig
from tongwen.engine.memory import check_weights, fit_context, free_bytes
from tongwen.engine.params import SamplingParams
from tongwen.engine.request import Completion, Request
from tongwen.errors import RequestError
from tongwen.tokenizer.chat import ChatFormat
from tongwen.tokenizer.template import chat_format

Message = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """A piece of a completion that is being written."""

    text: str
    """What became certain since the last piece; may be empty."""

    token_id: int
    """The token that was sampled."""

    completion: Completion | None
    """With the last piece, the whole."""


class LLM:
    """A model, ready to be asked.

    Args:
        model: A name of the store, a hub id, a directory, or a `.gguf` file.  A name that is not
            on this machine is fetched.
        weights: `auto`, `file`, `float32`, `bf16`, `int8` or `int4`; see `plan_weights`.
        device: `auto`, `cpu`, `cuda` ...
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
        self.engine = self._engine()
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
    ) -> Completion:
        """Answer a conversation.

        Args:
            messages: `{"role": ..., "content": ...}`, as OpenAI's API has them.  Where the last
                one is the assistant's, it is continued.
            params: How to sample; `None`: as the checkpoint recommends.
            tools: Functions that the model may call, as OpenAI's API has them.

        Raises:
            TokenizerError: The conversation is malformed, or the model has no chat format.
            RequestError: It does not fit the context.
        """
        return self.generate([self.render(messages, tools=tools)], params)[0]

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
        requests: list[Request] = []
        try:
            for prompt, wanted in zip(prompts, each, strict=True):
                requests.append(self.engine.add(self._ids(prompt), wanted))
            while not all(request.is_finished for request in requests):
                self.engine.step()
        finally:
            for request in requests:
                self.engine.abort(request)
        return [request.completion() for request in requests]

    def stream(
        self, prompt: str | Sequence[int], params: SamplingParams | None = None
    ) -> Generator[Delta, None, None]:
        """Continue one prompt piece by piece; closing the iterator ends the completion.

        Raises:
            RequestError: The prompt is empty or does not fit.
            CheckpointError: The logits are not finite.
        """
        request = self.engine.add(self._ids(prompt), params or SamplingParams())
        sent = told = 0
        try:
            while told < len(request.token_ids) or not request.is_finished:
                if told == len(request.token_ids):
                    self.engine.step()
                    continue
                told += 1
                # Whoever else steps this engine moves this request on too.
                if told < len(request.token_ids):
                    yield Delta(text="", token_id=request.token_ids[told - 1], completion=None)
                    continue
                text, sent = request.text[sent:], len(request.text)
                done = request.completion() if request.is_finished else None
                yield Delta(text=text, token_id=request.token_ids[-1], completion=done)
            if request.error is not None:
                raise request.error
        finally:
            self.engine.abort(request)

    def score(self, prompts: Sequence[str | Sequence[int]]) -> list[list[float | None]]:
        """Natural-log probability of each token given those before it; of the first: `None`.

        Raises:
            RequestError: A prompt is empty or longer than the context.
        """
        ids = [self._ids(prompt) for prompt in prompts]
        for prompt in ids:
            self.engine.check_prompt(prompt, room=0)
        return [[None, *self.engine.score(prompt)] for prompt in ids]

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

    def _engine(self) -> Engine:
        turns = self.chat_format.stop_ids if self.is_chat else ()
        return Engine(
            self.model,
            self.tokenizer,
            defaults=self.generation,
            eos_token_ids=frozenset({*self.generation.eos_token_ids, *turns}),
            config=EngineConfig(context=self.context, cache_tokens=self.context),
        )


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
