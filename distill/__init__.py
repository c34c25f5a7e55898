"""Trains small students on proven data. The only package that knows torch, trl and peft."""
