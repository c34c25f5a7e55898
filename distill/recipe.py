"""The recipe of one training run. Everything that changes what is learned is a key in here, and so in the digest."""

from typing import Any, Literal

from pydantic import Field, model_validator

from evalkit.recipes import Recipe

Method = Literal["sft", "kd"]
DivergenceName = Literal["forward_kl", "reverse_kl", "jsd", "skew_kl", "mse"]


class StudentPart(Recipe):
    """Where the student comes from: a preset, a shape of our own, or a folder (or Hub name). Exactly one."""

    preset: str | None = None
    path: str | None = None
    layers: int | None = Field(None, ge=1)
    hidden: int | None = Field(None, ge=8)
    heads: int | None = Field(None, ge=1)
    kv_heads: int | None = Field(None, ge=1)
    intermediate: int | None = Field(None, ge=8)
    """Width of the feed-forward layer; 8/3 of `hidden` where it is not given."""
    qk_norm: bool = False
    """Normalise queries and keys (Qwen3's attention): a new student learns faster and bears higher rates."""

    @model_validator(mode="after")
    def _one_source(self) -> "StudentPart":
        shape = (self.layers, self.hidden, self.heads)
        given = [self.preset is not None, self.path is not None, any(part is not None for part in shape)]
        if sum(given) != 1:
            raise ValueError("give exactly one of: preset, path, or layers + hidden + heads")
        if given[2] and not all(part is not None for part in shape):
            raise ValueError("a shape needs all of layers, hidden and heads")
        if self.qk_norm and self.path is not None:
            raise ValueError("qk_norm belongs to a new student, not to one from a folder")
        return self


class TokenizerPart(Recipe):
    """A tokenizer folder, or a vocabulary size to train one on the dataset. Neither: that of the teacher or student."""

    path: str | None = None
    vocab_size: int | None = Field(None, ge=270)

    @model_validator(mode="after")
    def _at_most_one(self) -> "TokenizerPart":
        if self.path is not None and self.vocab_size is not None:
            raise ValueError("give path or vocab_size, not both")
        return self


class DataPart(Recipe):
    """The dataset folder and which of its rows are learned."""

    folder: str
    categories: list[str] | None = None
    """Only these categories (all where null)."""
    exclude_categories: list[str] = Field(default_factory=list)
    rehearsal: float = Field(0.0, ge=0, lt=1)
    """Share of the rows drawn from the categories that the filter above leaves out: what a model knows already and
    would forget while it learns the rest."""
    limit: int | None = Field(None, ge=1)
    """Only the first rows of the chosen categories."""
    max_length: int = Field(256, ge=8)
    """Longest prompt + completion + end-of-text in tokens; longer rows are left out and counted, never cut."""
    prompt_weight: float = Field(0.0, ge=0, le=1)
    """Weight of a prompt token in the loss, beside 1 for one of the completion; 0: prompts are only read.

    Above 0 a new student learns to copy names and numbers much sooner (docs/decisions.md). A model that is only
    adapted has learned that long ago.
    """


class LoraPart(Recipe):
    """Low-rank adapters instead of full training (PEFT's own meanings)."""

    r: int = Field(8, ge=1)
    alpha: float = 16
    dropout: float = Field(0.0, ge=0, lt=1)
    target: str | list[str] = "all-linear"


class OptimizerPart(Recipe):
    """Who takes the steps. `adamw` is that of `training`; `muon` gives the matrices of the blocks to Muon."""

    name: Literal["adamw", "muon"] = "adamw"
    matrix_learning_rate: float = Field(0.02, gt=0)
    """Muon's own rate, under the same schedule; `training.learning_rate` is that of the rest."""


class LossPart(Recipe):
    """alpha * CE + (1 - alpha) * T^2 * D(teacher || student), for method kd."""

    alpha: float = Field(0.1, ge=0, le=1)
    temperature: float = Field(1.0, gt=0)
    divergence: DivergenceName = "forward_kl"
    beta: float = Field(0.5, gt=0, lt=1)
    """Weight of the teacher in the mixture of jsd and skew_kl; the others do not read it."""
    token_tile: int | None = Field(None, ge=1)
    vocab_tile: int | None = Field(None, ge=1)
    """Tile sizes; chosen for the device where null. They change memory and speed, not the result."""


class EvalPart(Recipe):
    """Evaluation inside training, on the live weights, greedy, in the sandbox."""

    every: int | None = Field(None, ge=1)
    """Steps between evaluations; null: only at the end."""
    suites: list[str] = Field(default_factory=list)
    """Suites that are only reported (mini-humaneval, ...). The checkpoint is chosen on the validation split."""
    samples: int = Field(100, ge=0)
    """Problems of the validation split (the first ones); 0 turns validation off and the last weights are kept."""
    max_new_tokens: int = Field(128, ge=1)
    patience: int | None = Field(None, ge=1)
    """Stop after so many evaluations without a better validation pass@1; null: never."""


class GuardPart(Recipe):
    """The collapse guard: warns at the first collapsed evaluation, stops after `patience` in a row."""

    enabled: bool = True
    share: float = Field(0.5, gt=0, le=1)
    """Share of collapsed completions from which an evaluation counts as collapsed."""
    patience: int = Field(2, ge=1)
    warmup: int = Field(0, ge=0)
    """Steps at the start at which nothing is judged: an untrained model always looks collapsed."""


class TrainRecipe(Recipe):
    method: Method
    data: DataPart
    output: str
    student: StudentPart
    tokenizer: TokenizerPart = TokenizerPart()
    teacher: str | None = None
    """Folder or Hub name of the teacher, for method kd."""
    lora: LoraPart | None = None
    loss: LossPart = LossPart()
    optimizer: OptimizerPart = OptimizerPart()
    eval: EvalPart = EvalPart()
    guard: GuardPart = GuardPart()
    training: dict[str, Any] = Field(default_factory=dict)
    """Arguments of transformers.TrainingArguments (method sft: trl.SFTConfig) by their own names."""

    @model_validator(mode="after")
    def _consistent(self) -> "TrainRecipe":
        if self.method == "kd" and self.teacher is None:
            raise ValueError("method kd needs a teacher: give its folder")
        if self.method != "kd" and self.teacher is not None:
            raise ValueError("a teacher is only used by method kd")
        if self.lora is not None and self.student.path is None:
            raise ValueError("lora needs student.path: adapters on random weights learn nothing of use")
        if self.method == "sft" and self.student.path is None and self.tokenizer == TokenizerPart():
            raise ValueError("a new student needs tokenizer.path or tokenizer.vocab_size")
        return self
