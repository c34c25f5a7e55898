"""The built-in teacher: a grammar behind the OpenAI interface. A stand-in for a language model, and it says so.

`drafts` composes a task from meanings; `wording` says what it asks in many ways; `task` renders prompt, solution and
tests, whose expected values come from executing the solution; `flaws` spoils a known share; `app` serves it all.
"""
