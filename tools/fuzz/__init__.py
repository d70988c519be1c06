"""A mutation fuzzer for every kind of file that seglab reads: `python -m tools.fuzz --seed 1 --mutants 1500`.

It makes small valid inputs, damages them, and does with each what a user would do. A damaged file must be read as it
was meant, be left out and counted, or be a `SeglabError` that names it; whatever else happens is a failure. Each
mutant runs in a process of its own (`processes`), so that it may also crash, hang or take all memory. What is done to
files stands in `mutations`, what is done with them in `kinds`.
"""
