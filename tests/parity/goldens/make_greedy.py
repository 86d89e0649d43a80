"""Have transformers answer twenty questions greedily in float32; keep the ids it chose.

    python tests/parity/goldens/make_greedy.py MODEL.gguf

The weights of the real model are saved as a directory of float32, which transformers loads; its own
template renders each question, and no penalty acts.  `greedy.json` holds, for each question, the
ids of the prompt, those of the answer (`<|im_end|>` included, at most 64), and the steps at which
the two largest logits are so close that float32 does not decide between them.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from tongwen.checkpoint.gguf import GGUFFile
from tongwen.checkpoint.save import save_checkpoint

MAX_TOKENS = 64
NEAR_TIE = 4e-3
"""Two logits of an error of 2e-3 each cannot be told apart when they are closer than this."""

HERE = Path(__file__).parent
QUESTIONS = {
    "English": [
        "What is the capital of Australia? Answer in one sentence.",
        "Explain in two sentences why the sky is blue.",
        "Name three animals that can fly.",
        "Translate into French: The library opens at nine in the morning.",
        "A train travels 120 km in 90 minutes. What is its average speed in km/h?",
    ],
    "Chinese": [
        "中国的首都是哪里？请用一句话回答。",
        "请用两句话介绍一下李白。",
        "列出三种常见的水果。",
        "把这句话翻译成英文：今天下午我们去图书馆。",
        "为什么冬天比夏天冷？",
    ],
    "Arabic": [
        "ما هي عاصمة مصر؟ أجب بجملة واحدة.",
        "اذكر ثلاثة ألوان.",
        "ترجم إلى الإنجليزية: الكتاب على الطاولة.",
        "ما هو أكبر كوكب في المجموعة الشمسية؟",
        "اكتب جملة قصيرة عن القراءة.",
    ],
    "code": [
        "Write a Python function `is_prime(n)`.",
        "Write a SQL query that counts the orders of each customer.",
        "What does this print? `print([x * x for x in range(5)])`",
        "Write a Rust function that reverses a string.",
        "Fix this Python code: `for i in range(10) print(i)`",
    ],
}


def save(model: Path, directory: Path, dtype: torch.dtype) -> None:
    """Write the values of a GGUF file as a directory, every one of them rounded to `dtype`."""
    source = GGUFFile(model)
    save_checkpoint(
        directory,
        config=source.config,
        tensors=((name, source.tensor(name, dtype)) for name in source.names()),
        generation=source.generation,
        tokenizer=source.tokenizer(),
        chat_template=source.chat_template,
        licence="apache-2.0",
    )


def main(model: Path) -> None:
    """Write `greedy.json`."""
    with tempfile.TemporaryDirectory() as scratch:
        save(model, Path(scratch) / "float32", torch.float32)
        answers = answer_all(Path(scratch) / "float32")
    golden = {
        "model": "Qwen2.5-Coder-0.5B-Instruct, Q4_K_M dequantized to float32",
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "near_tie": NEAR_TIE,
        "answers": answers,
    }
    (HERE / "greedy.json").write_text(compact(golden), encoding="utf-8")


def answer_all(directory: Path) -> list[dict[str, Any]]:
    """Each question with the prompt's ids, the answer's ids and its near-ties."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="sdpa"
    ).eval()
    answers = []
    for kind, questions in QUESTIONS.items():
        for question in questions:
            prompt = tokenizer.apply_chat_template(
                [{"role": "user", "content": question}],
                add_generation_prompt=True,
                return_tensors="pt",
                return_dict=False,
            )
            token_ids, near_ties = continue_greedily(model, prompt)
            answers.append(
                {
                    "kind": kind,
                    "question": question,
                    "prompt_ids": prompt[0].tolist(),
                    "token_ids": token_ids,
                    "near_ties": near_ties,
                    "text": tokenizer.decode(token_ids),
                }
            )
    return answers


def continue_greedily(
    model: transformers.PreTrainedModel, prompt: torch.Tensor
) -> tuple[list[int], list[int]]:
    """The ids that transformers chooses, and at which of them two logits nearly tie."""
    done = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=MAX_TOKENS,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    gaps = [-row[0].topk(2).values.diff().item() for row in done.logits]
    near_ties = [step for step, gap in enumerate(gaps) if gap <= NEAR_TIE]
    return done.sequences[0, prompt.shape[1] :].tolist(), near_ties


def compact(golden: dict[str, Any]) -> str:
    """JSON with a line for each value, and each list of numbers on one line."""
    answers = ",\n".join(
        "  {\n"
        + ",\n".join(f'   "{k}": {json.dumps(v, ensure_ascii=False)}' for k, v in answer.items())
        + "\n  }"
        for answer in golden["answers"]
    )
    head = {key: value for key, value in golden.items() if key != "answers"}
    return json.dumps(head, indent=1)[:-2] + f',\n "answers": [\n{answers}\n ]\n}}\n'


if __name__ == "__main__":
    main(Path(sys.argv[1]))
