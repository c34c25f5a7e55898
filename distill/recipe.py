"""The recipe of one training run. Everything that changes what is learned is a key in here, and so in the digest."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distill.numbers import number
from distill.sources import refuse_impossible
from evalkit.recipes import Recipe

Method = Literal["pretrain", "sft", "kd", "on_policy"]
DivergenceName = Literal["forward_kl", "reverse_kl", "jsd", "skew_kl", "mse"]
EVALUATIONS = 8
"""How many there are in a run whose recipe does not say: at most 5% of half an hour (bench/distill.py)."""

Metric = Literal["pass_at_1", "syntax_valid", "loss"]


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
    dropout: float = Field(0.0, ge=0, lt=1)
    """Of attention weights, in a new student; one from a folder has its own."""

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
        if self.dropout and self.path is not None:
            raise ValueError("dropout belongs to a new student; one from a folder has its own")
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
    """What is learned: rows of a dataset folder, or the texts of a corpus (which may have a folder beside it, whose
    validation split is then what the checkpoints are judged by)."""

    folder: str | None = None
    corpus: list[str] = Field(default_factory=list)
    """Source files, folders of them, or .jsonl files with a `text` or `content` each. Every token is learned."""
    suffixes: list[str] = Field([".py"])
    """Which files of the corpus's folders are read."""
    held_out: float = Field(0.01, ge=0, lt=1)
    """Share of the corpus's documents (chosen by their content) that is not learned, and on which the loss is
    measured."""
    packing: bool | None = None
    """Several rows in one, up to `max_length`, none of which sees another. null: for a corpus, and for nothing else."""
    categories: list[str] | None = None
    """Only these categories (all where null)."""
    exclude_categories: list[str] = Field(default_factory=list)
    rehearsal: float = Field(0.0, ge=0, lt=1)
    """Share of the rows drawn from the categories that the filter above leaves out: what a model knows already and
    would forget while it learns the rest."""
    limit: int | None = Field(None, ge=1)
    """Only the first rows of the chosen categories."""
    max_length: int = Field(256, ge=8)
    """Longest prompt + completion + end-of-text in tokens; longer rows are left out and counted, never cut. Longer
    documents of a corpus are cut into pieces."""
    prompt_weight: float = Field(0.0, ge=0, le=1)
    """Weight of a prompt token in the loss, beside 1 for one of the completion; 0: prompts are only read.

    Above 0 a new student learns to copy names and numbers much sooner (docs/decisions.md). A model that is only
    adapted has learned that long ago.
    """

    @property
    def packed(self) -> bool:
        return bool(self.corpus) if self.packing is None else self.packing

    @model_validator(mode="after")
    def _something(self) -> "DataPart":
        if self.folder is None and not self.corpus:
            raise ValueError("give a folder (a dataset) or a corpus")
        return self


class ServedPart(Recipe):
    """A teacher behind a server that scores given text (vLLM's `prompt_logprobs`; `evalkit serve`)."""

    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; it need not be set for a server that asks for none."""
    k: int = Field(20, ge=1)
    """How many of the likeliest ids the server is asked for, per token."""
    concurrency: int = Field(8, ge=1)


class LoraPart(Recipe):
    """Low-rank adapters instead of full training (PEFT's own meanings)."""

    r: int = Field(8, ge=1)
    alpha: float = 16
    dropout: float = Field(0.0, ge=0, lt=1)
    target: str | list[str] = "all-linear"
    quantize: Literal["4bit"] | None = None
    """QLoRA: the frozen weights in 4 bits (NF4, double quantisation), by bitsandbytes where it is installed."""


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

    every: int | None = Field(None, ge=0)
    """Steps between evaluations; null: an eighth of the run; 0: only at the end."""
    suites: list[str] = Field(default_factory=list)
    """Suites that are only reported (mini-humaneval, ...). The checkpoint is chosen on the validation split."""
    samples: int = Field(100, ge=0)
    """Problems of the validation split (the first ones); 0 turns validation off and the last weights are kept."""
    n: int = Field(1, ge=1)
    """Completions of each problem, for pass@k; above 1 they are sampled at `temperature`."""
    temperature: float = Field(0.0, ge=0)
    max_new_tokens: int = Field(128, ge=1)
    metric: Metric = "pass_at_1"
    """What the best checkpoint is chosen by, on the validation split (`loss`: on what a corpus holds out)."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many evaluations without a better value of the metric; null: never."""
    time_limit: float | None = Field(None, gt=0)
    """Seconds after which a suite's evaluation is given up: it is then reported as not measured, never as a score."""

    def interval(self, steps: int) -> int:
        """Steps between evaluations of a run of so many steps; 0: only at the end."""
        return max(1, steps // EVALUATIONS) if self.every is None else self.every

    @model_validator(mode="after")
    def _sampled(self) -> "EvalPart":
        if self.n > 1 and self.temperature == 0:
            raise ValueError("n above 1 needs a temperature: greedy completions are all the same")
        return self


class GuardPart(Recipe):
    """The collapse guard: warns at the first collapsed evaluation, stops after `patience` in a row."""

    enabled: bool = True
    share: float = Field(0.5, gt=0, le=1)
    """Share of collapsed completions from which an evaluation counts as collapsed."""
    patience: int = Field(2, ge=1)
    warmup: int = Field(0, ge=0)
    """Steps at the start at which nothing is judged: an untrained model always looks collapsed."""
    loss_floor: float = Field(0.02, ge=0)
    """A cross-entropy below this many nats a token raises an alarm and an evaluation on the spot: it mostly means that
    the labels can be read off the input, not that all is learned. 0: never."""


class TrainRecipe(Recipe):
    method: Method
    data: DataPart
    output: str
    student: StudentPart
    tokenizer: TokenizerPart = TokenizerPart()
    teacher: str | None = None
    """Folder or Hub name of the teacher, for the methods kd and on_policy."""
    teacher_memory: float = Field(2.0, ge=0)
    """GiB of disk, in the run's folder and for its time, for what a teacher made of the rows, so that it reads each of
    them once and not in every epoch. Where that is not enough, or 0, it reads them in every epoch."""
    cache: str | None = None
    """A folder that `distill cache` wrote, instead of a teacher."""
    served: ServedPart | None = None
    """A server that scores text, instead of a teacher: asked once, before the first step."""
    lora: LoraPart | None = None
    loss: LossPart = LossPart()
    optimizer: OptimizerPart = OptimizerPart()
    eval: EvalPart = EvalPart()
    guard: GuardPart = GuardPart()
    preflight: bool = True
    """Look the run over before its first step, and refuse what would be wasted."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Arguments of transformers.TrainingArguments (sft: trl.SFTConfig; on_policy: trl.DistillationConfig) by their own
    names."""

    @field_validator("training")
    @classmethod
    def _numbers(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {name: number(name, given) for name, given in value.items()}

    @model_validator(mode="after")
    def _teachers(self) -> "TrainRecipe":
        given = [name for name in ("teacher", "cache", "served") if getattr(self, name) is not None]
        if self.method == "kd" and len(given) != 1:
            raise ValueError("method kd needs exactly one of: teacher (its folder), cache, served")
        if self.method == "on_policy" and given != ["teacher"]:
            raise ValueError("method on_policy needs a teacher (its folder): it scores what the student has just said")
        if self.method in ("sft", "pretrain") and given:
            raise ValueError(f"{given[0]} is only used by the methods kd and on_policy")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> "TrainRecipe":
        if self.lora is not None and self.student.path is None:
            raise ValueError("lora needs student.path: adapters on random weights learn nothing of use")
        known = self.teacher or self.cache or self.student.path
        if known is None and self.tokenizer == TokenizerPart():
            raise ValueError("a new student needs tokenizer.path or tokenizer.vocab_size")
        if self.method == "pretrain" and not self.data.corpus:
            raise ValueError("method pretrain needs data.corpus")
        if self.method in ("sft", "on_policy") and (self.data.corpus or self.data.folder is None):
            raise ValueError(f"method {self.method} needs data.folder, and no corpus")
        if self.method == "on_policy" and self.data.packing:
            raise ValueError("method on_policy has nothing to pack: the student writes the rows itself")
        if self.eval.metric == "loss" and not self.data.corpus:
            raise ValueError("eval.metric loss is measured on what a corpus holds out: give data.corpus")
        return self

    @model_validator(mode="after")
    def _possible(self) -> "TrainRecipe":
        if self.served is not None and self.tokenizer.path is None and self.student.path is None:
            raise ValueError("a served teacher needs its tokenizer: give tokenizer.path (or a student that has it)")
        if self.method == "kd" and self.loss.alpha < 1 and self.served is not None:
            refuse_impossible("served", self.loss.divergence, self.loss.temperature)
        if self.method == "on_policy" and (self.loss.divergence not in ON_POLICY_BETA or self.loss.alpha > 0):
            raise ValueError(
                "method on_policy has forward_kl, reverse_kl and jsd, and alpha 0 (no text is given to learn from)"
            )
        return self


ON_POLICY_BETA: dict[str, float | None] = {"forward_kl": 0.0, "reverse_kl": 1.0, "jsd": None}
"""What TRL calls each divergence: its beta; None: that of the recipe."""
