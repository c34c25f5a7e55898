"""On-policy distillation through TRL: the student writes, the teacher scores every word of it.

The trainer is TRL's DistillationTrainer as it comes: one generalised JSD over the whole vocabulary, at one temperature
for sampling and loss, without the factor T^2 that method kd has. Its buffer of completions is made anew when a run
resumes, so a killed run goes on, but does not end bit-equal to an uninterrupted one.
"""

from typing import Any

from distill.preparation import Parts
from distill.recipe import TrainRecipe
from evalkit.errors import ModelError
from evalkit.prompting import PROMPTING


def on_policy_trainer(recipe: TrainRecipe, parts: Parts, args: Any, lora: Any) -> Any:
    """The trainer over the dataset's prompts. Raises ModelError where the teacher's head cannot be made to fit."""
    import datasets
    from trl import DistillationTrainer

    prompts = []
    for row in parts.material.rows:
        prompt, _ = PROMPTING.split_solution(row.problem)
        prompts.append(prompt)
    _fit(parts)
    return DistillationTrainer(
        model=parts.model,
        teacher_model=parts.teacher,
        args=args,
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts}),
        processing_class=parts.tokenizer,
        peft_config=lora,
    )


def _fit(parts: Parts) -> None:
    """TRL wants heads of one size. What lies beyond the tokenizer is padding in both, so the teacher's can be cut."""
    ours, theirs = parts.model.config.vocab_size, parts.teacher.config.vocab_size
    if theirs > ours:
        parts.teacher.resize_token_embeddings(ours)
    elif theirs < ours:
        raise ModelError(
            f"the student's head is padded to {ours} rows, the teacher's to {theirs}, and on-policy distillation needs "
            "the teacher's to be no smaller",
            fix="use method kd, which reads the real ids only",
        )
