"""transformers' batched generate on HumanEval: `python transformers_humaneval.py DIRECTORY BATCH`.

A line of JSON on stdin holds prompts as token ids, stop strings and the most tokens; a line on
stdout the completions.
"""

import json
import os
import sys

import torch
from talk import quiet_stdout
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizer

PAD = 0


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizer,
    prompts: list[list[int]],
    stop: list[str],
    max_tokens: int,
) -> list[str]:
    """Greedy completions of a batch, padded on the left, cut at the first stop string."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])
    done = model.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=max_tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
        pad_token_id=PAD,
        stop_strings=stop,
        tokenizer=tokenizer,
    )
    texts = tokenizer.batch_decode(done[:, longest:], skip_special_tokens=True)
    return [min((text.partition(each)[0] for each in stop), key=len) for text in texts]


def main() -> None:
    """Load, say so, then answer one line."""
    out, size = quiet_stdout(), int(sys.argv[2])
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    model = AutoModelForCausalLM.from_pretrained(
        sys.argv[1], dtype=torch.bfloat16, attn_implementation="sdpa"
    ).eval()
    os.write(out, b'"ready"\n')
    asked = json.loads(sys.stdin.readline())
    prompts, found = asked["prompts"], {}
    # Alike lengths together: the least padding.
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    for first in range(0, len(order), size):
        places = order[first : first + size]
        batch = [prompts[place] for place in places]
        texts = complete(model, tokenizer, batch, asked["stop"], asked["max_tokens"])
        found |= dict(zip(places, texts, strict=True))
    os.write(out, (json.dumps([found[place] for place in range(len(prompts))]) + "\n").encode())


if __name__ == "__main__":
    main()
