"""What goes on between a model and somebody at a terminal, or at the end of a pipe."""

import dataclasses
from dataclasses import dataclass
from typing import Any, cast

from rich.console import Console

from tongwen.checkpoint.load import Weights
from tongwen.checkpoint.manifest import LocalModel
from tongwen.checkpoint.sources import UNSTATED
from tongwen.checkpoint.store import Store
from tongwen.cli.answer import Answer, Stoppable, write_answer
from tongwen.cli.choose import Wish, choose, runnable_name
from tongwen.cli.conversation import Conversation
from tongwen.cli.render import Sink, sink_for
from tongwen.cli.terminal import say, status
from tongwen.engine.llm import LLM
from tongwen.engine.params import SamplingParams, params_from
from tongwen.errors import RequestError


@dataclass(frozen=True, slots=True)
class Loader:
    """Makes models ready, all in the way that the command line asked for."""

    store: Store
    wish: Wish

    def choose(self, name: str) -> LocalModel:
        """The model of a name, fetched where it is not here; see `choose`."""
        return choose(self.store, dataclasses.replace(self.wish, model=name))

    def ready(self, local: LocalModel) -> LLM:
        """The model in memory, with a word on the terminal meanwhile."""
        wish, name = self.wish, runnable_name(local)
        with status(f"loading {local.name}"):
            llm = LLM(
                name,
                weights=cast(Weights, wish.weights),  # click knows the choices
                device=wish.device,
                context=wish.context,
                home=self.store.home,
            )
        self.store.mark_used(name)
        return llm


@dataclass(kw_only=True)
class Session:
    """A model, a conversation with it, and how the answers are to be written and shown."""

    llm: LLM
    local: LocalModel
    loader: Loader
    settings: dict[str, Any]
    """Sampling parameters that were set; the others are the checkpoint's."""

    conversation: Conversation
    console: Console = dataclasses.field(default_factory=lambda: Console(highlight=False))
    """Where answers go."""

    chat: bool | None = None
    """Whether turns are taken; None: as the model was trained."""

    is_verbose: bool = False
    """Whether to say what each answer took."""

    shows_markdown: bool = True
    """Whether a terminal gets styles for marks."""

    keeps_history: bool = True
    """Whether questions are remembered for the next time."""

    @property
    def is_chat(self) -> bool:
        """Whether turns are taken; else text is continued."""
        return self.llm.is_chat if self.chat is None else self.chat

    @property
    def licence(self) -> str:
        """What the store says, or else the checkpoint itself."""
        stated = self.local.licence
        return (self.llm.source.licence or stated) if stated == UNSTATED else stated

    def params(self) -> SamplingParams:
        """The parameters of the next answer.

        Raises:
            RequestError: A value is out of range.
        """
        params = params_from(self.settings)
        if not self.is_chat or self.llm.is_chat:
            return params
        # A base model that is made to chat does not end turns by itself.
        return dataclasses.replace(params, stop_token_ids=self.llm.chat_format.stop_ids)

    def begin(self) -> None:
        """Say what kind of model this is where that may surprise; once for each model.

        Raises:
            RequestError: A system text was given, and nobody would read it.
        """
        if self.is_chat:
            return
        if self.conversation.system is not None:
            raise RequestError(
                f"`{self.local.name}` continues text here, and reads no system text",
                hint="leave the system text out, or give `--chat`",
            )
        if self.llm.is_chat:
            say(f"{self.local.name} continues your text, as `--no-chat` asks")
        else:
            say(f"{self.local.name} is a base model: it continues your text (`--chat` takes turns)")

    def ask(self, text: str, stoppable: Stoppable | None = None, *, quiet: bool = False) -> Answer:
        """Have a question answered, or a text continued, and the answer printed.

        A question that cannot be answered is withdrawn from the conversation.

        Args:
            text: What was typed or piped.
            stoppable: Handles Ctrl-C.
            quiet: Print nothing.

        Raises:
            TongwenError: It cannot be answered.
        """
        sink = None if quiet else self._sink()
        if not self.is_chat:
            prompt_ids = self.llm.tokenizer.encode(text, allow_control=True)
            return write_answer(self.llm, prompt_ids, self.params(), sink, stoppable)
        self.conversation.ask(text)
        answer = None
        try:
            prompt_ids = self.llm.render(self.conversation.messages)
            self._check_room(len(prompt_ids))
            answer = write_answer(self.llm, prompt_ids, self.params(), sink, stoppable)
        finally:
            if answer is None:
                self.conversation.withdraw()
        self.conversation.answer(answer.text, answer.token_ids)
        return answer

    def remark(self, answer: Answer) -> None:
        """Say what there is to say of an answer: that it was cut off, and what it took."""
        done = answer.completion
        if done is None:
            say("(stopped)")
        elif done.finish_reason == "length":
            is_full = answer.num_prompt_tokens + len(answer.token_ids) >= self.llm.context
            full = f"the context of {self.llm.context} tokens is full"
            say(f"(cut off: {full if is_full else f'`max_tokens` is {len(answer.token_ids)}'})")
        if self.is_verbose:
            say(answer.figures())

    def switch(self, name: str) -> None:
        """Go on with another model; a new conversation begins.

        Raises:
            TongwenError: It cannot be had beside this one; all stays as it was.
        """
        local = self.loader.choose(name)
        self.llm, self.local = self.loader.ready(local), local
        self.conversation.clear()

    def _check_room(self, num_tokens: int) -> None:
        if num_tokens < self.llm.context:
            return
        if len(self.conversation.turns) == 1:
            raise RequestError(
                f"the prompt has {num_tokens} tokens, and must leave room for an answer in a "
                f"context of {self.llm.context}",
                hint="shorten it, or give more room with `--context`",
            )
        raise RequestError(
            f"with this question the conversation has {num_tokens} tokens, of a context of "
            f"{self.llm.context}; the question is withdrawn",
            hint="`/clear` begins a new conversation; `tongwen run --context` gives more room",
        )

    def _sink(self) -> Sink:
        return sink_for(self.console, shows_marks=self.is_chat and self.shows_markdown)
