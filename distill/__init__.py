"""distill: trains small students on a dataset folder. The only home of torch, trl and peft; nothing heavy at import."""
