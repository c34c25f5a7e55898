"""What numbers the arguments under `training:` may be."""

import math
from contextlib import suppress

NUMBERS: dict[str, tuple[type, float, float]] = {
    "per_device_train_batch_size": (int, 1, math.inf),
    "gradient_accumulation_steps": (int, 1, math.inf),
    "max_steps": (int, -1, math.inf),
    "num_train_epochs": (float, 0, math.inf),
    "learning_rate": (float, 0, math.inf),
    "weight_decay": (float, 0, math.inf),
    "adam_beta1": (float, 0, 1),
    "adam_beta2": (float, 0, 1),
    "adam_epsilon": (float, 0, math.inf),
    "max_grad_norm": (float, 0, math.inf),
    "warmup_steps": (float, 0, math.inf),
    "label_smoothing_factor": (float, 0, 1),
    "seed": (int, 0, 2**32),
    "save_steps": (float, 0, math.inf),
    "logging_steps": (float, 0, math.inf),
    "dataloader_num_workers": (int, 0, math.inf),
}
"""What the libraries themselves do not look at, or only once the run is under way: kind, least, and less than."""


def number(name: str, value: object) -> object:
    """The value of an argument of that name, a number where it is one (YAML reads `1e-3` as text). Raises ValueError
    where it cannot have that value. Arguments that are not listed, and null, are left as they are."""
    if name not in NUMBERS or value is None:
        return value
    kind, least, end = NUMBERS[name]
    if isinstance(value, str):
        with suppress(ValueError):
            value = kind(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(value, int | float) or not (whole or (kind is float and isinstance(value, float))):
        said = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} is {value!r}, not {said}")
    if not least <= value < end:
        bound = f"at least {least:g}" + (f" and below {end:g}" if end < math.inf else "")
        raise ValueError(f"{name} is {value!r}; it must be {bound}")
    return value
