"""The fuzzer: it changes valid files at random and gives them to what users reach, in processes that may die of it.

`mutations` changes bytes, text and JSON, and `formats` what lies behind a checksum or a compression. `samples` makes
the valid files, and `readers` reads them as a command would: both by kind. `inputs` makes an input of a number, `child`
is the process that reads it, and `campaign` watches that. `python tests/fuzz.py` runs them all (`make fuzz`), and
tests/test_fuzz.py a short form of it.

An input is a function of the seed, its kind and its number, whichever process makes it. Hypothesis is not used: it
looks at an input within the process that a crash would end, and shrinks by running it again.
"""
