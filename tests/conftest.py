"""Set before torch, transformers and trl are imported anywhere: no network, no chatter, one thread per test process."""

import os

os.environ.update(
    HF_HUB_OFFLINE="1",
    TRL_EXPERIMENTAL_SILENCE="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",
)
