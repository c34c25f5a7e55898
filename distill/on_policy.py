"""On-policy distillation through TRL: the student writes, the teacher scores every word of it.

The trainer is TRL's DistillationTrainer as it comes: one generalised JSD over the whole vocabulary, at one temperature
for sampling and loss, without the factor T^2 that method kd has. Its buffer of completions is made anew when a run
resumes, so a killed run goes on, but does not end bit-equal to an uninterrupted one.
"""

from typing import Any

from distill.contract import check_positions
from distill.preparation import Parts
from distill.recipe import TrainRecipe
from evalkit.errors import ConfigError, ModelError
from evalkit.prompting import PROMPTING


def on_policy_trainer(recipe: TrainRecipe, parts: Parts, args: Any, lora: Any) -> Any:
    """The trainer over the dataset's prompts. Raises ModelError where the teacher's head cannot be made to fit, or a
    model has too few positions, ConfigError for what this method has not."""
    import datasets
    from trl import DistillationTrainer

    for name, set_ in (
        ("optimizer.name", recipe.optimizer.name != "adamw"),
        ("training.label_smoothing_factor", args.label_smoothing_factor > 0),
    ):
        if set_:
            raise ConfigError("has no part in method on_policy, whose trainer is TRL's", where=name, fix="leave it out")
    prompts = []
    for row in parts.material.rows:
        try:
            prompt, _ = PROMPTING.split_solution(row.problem)
        except ValueError:
            continue  # counted in rows_not_a_continuation
        prompts.append(prompt)
    _fit(parts)
    longest = max((list(parts.tokenizer(prompt)["input_ids"]) for prompt in prompts), key=len)
    longest += longest[-1:] * args.max_completion_length
    check_positions(parts.model, longest, "student")
    check_positions(parts.teacher, longest, "teacher")
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
